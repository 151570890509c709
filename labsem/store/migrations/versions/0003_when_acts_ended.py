"""Acts say when they ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from labsem.store.tables.base import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("acts", sa.Column("ended_at", UtcDateTime(), nullable=True))
