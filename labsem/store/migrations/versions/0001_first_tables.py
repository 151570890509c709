"""The first released tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "announced_files",
        sa.Column("frame_id", sa.Uuid(), nullable=False),
        sa.Column("image_root", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("announced_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("frame_id", name=op.f("pk_announced_files")),
        sa.UniqueConstraint("image_root", "path", name=op.f("uq_announced_files_image_root_path")),
    )
    op.create_table(
        "cursors",
        sa.Column("reader", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("reader", "stream", name=op.f("pk_cursors")),
    )
    op.create_table(
        "gaps",
        sa.Column("gap_id", ROW_ID, nullable=False),
        sa.Column("reader", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.Uuid(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("gap_id", name=op.f("pk_gaps")),
    )
    op.create_table(
        "inbox",
        sa.Column("inbox_id", ROW_ID, nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.Uuid(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("message_key", sa.String(length=300), nullable=False),
        sa.Column("schema_id", sa.String(length=100), nullable=False),
        sa.Column("plain", sa.Boolean(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("sample_id", sa.String(length=64), nullable=True),
        sa.Column("frame_id", sa.Uuid(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("claimed_by", sa.String(length=200), nullable=True),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("not_before", TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("done_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("inbox_id", name=op.f("pk_inbox")),
        sa.UniqueConstraint("message_key", name=op.f("uq_inbox_message_key")),
    )
    op.create_index(op.f("ix_inbox_frame_id"), "inbox", ["frame_id"], unique=False)
    op.create_index(op.f("ix_inbox_sample_id_state"), "inbox", ["sample_id", "state"], unique=False)
    op.create_index(op.f("ix_inbox_state_inbox_id"), "inbox", ["state", "inbox_id"], unique=False)
    op.create_index(
        op.f("ix_inbox_stream_epoch_sequence"), "inbox", ["stream", "epoch", "sequence"], unique=False
    )
    op.create_table(
        "instruments",
        sa.Column("instrument_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("driver", sa.String(length=64), nullable=True),
        sa.Column("can_act", sa.Boolean(), nullable=False),
        sa.Column("status", sa.LargeBinary(), nullable=True),
        sa.Column("status_at", TIME, nullable=True),
        sa.Column("held_by", sa.String(length=200), nullable=True),
        sa.Column("held_until", TIME, nullable=True),
        sa.Column("scale_relative_uncertainty", sa.Double(), nullable=True),
        sa.Column("scale_verified", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("instrument_id", name=op.f("pk_instruments")),
    )
    op.create_table(
        "jobs",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("every_s", sa.Double(), nullable=False),
        sa.Column("last_run_at", TIME, nullable=True),
        sa.Column("next_due_at", TIME, nullable=False),
        sa.Column("leased_by", sa.String(length=200), nullable=True),
        sa.Column("lease_until", TIME, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_jobs")),
    )
    op.create_table(
        "models",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("registered_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_models")),
    )
    op.create_table(
        "samples",
        sa.Column("sample_id", sa.String(length=64), nullable=False),
        sa.Column("sample_name", sa.String(length=200), nullable=True),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("settle_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("sample_id", name=op.f("pk_samples")),
    )
    op.create_index(op.f("ix_samples_state_settle_at"), "samples", ["state", "settle_at"], unique=False)
    op.create_table(
        "streams",
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.Uuid(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("stream", name=op.f("pk_streams")),
    )
    op.create_table(
        "frames",
        sa.Column("frame_id", sa.Uuid(), nullable=False),
        sa.Column("sample_id", sa.String(length=64), nullable=False),
        sa.Column("instrument_id", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.Column("image_root", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("acquired_at", TIME, nullable=False),
        sa.Column("position_x_mm", sa.Double(), nullable=True),
        sa.Column("position_y_mm", sa.Double(), nullable=True),
        sa.Column("scan_rotation_deg", sa.Double(), nullable=True),
        sa.Column("act_id", sa.Uuid(), nullable=True),
        sa.Column("act_index", sa.Integer(), nullable=True),
        sa.Column("superseded_by", sa.Uuid(), nullable=True),
        sa.Column("recorded_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["instrument_id"], ["instruments.instrument_id"], name=op.f("fk_frames_instrument_id")
        ),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.sample_id"], name=op.f("fk_frames_sample_id")),
        sa.ForeignKeyConstraint(["superseded_by"], ["frames.frame_id"], name=op.f("fk_frames_superseded_by")),
        sa.PrimaryKeyConstraint("frame_id", name=op.f("pk_frames")),
    )
    op.create_index(op.f("ix_frames_act_id"), "frames", ["act_id"], unique=False)
    op.create_index(op.f("ix_frames_instrument_id"), "frames", ["instrument_id"], unique=False)
    op.create_index(
        op.f("ix_frames_sample_id_acquired_at"), "frames", ["sample_id", "acquired_at"], unique=False
    )
    op.create_index(op.f("ix_frames_sha256"), "frames", ["sha256"], unique=False)
    op.create_table(
        "journal",
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.String(length=200), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("sample_id", sa.String(length=64), nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["stream"], ["streams.stream"], name=op.f("fk_journal_stream")),
        sa.PrimaryKeyConstraint("stream", "sequence", name=op.f("pk_journal")),
        sa.UniqueConstraint("event_id", name=op.f("uq_journal_event_id")),
    )
    op.create_index(op.f("ix_journal_at"), "journal", ["at"], unique=False)
    op.create_table(
        "rejected",
        sa.Column("rejected_id", ROW_ID, nullable=False),
        sa.Column("inbox_id", ROW_ID, nullable=True),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("plain", sa.Boolean(), nullable=False),
        sa.Column("sample_id", sa.String(length=64), nullable=True),
        sa.Column("image_root", sa.String(length=64), nullable=True),
        sa.Column("path", sa.String(length=1024), nullable=True),
        sa.Column("frame_id", sa.Uuid(), nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("retry_at", TIME, nullable=True),
        sa.Column("closed_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.inbox_id"], name=op.f("fk_rejected_inbox_id")),
        sa.PrimaryKeyConstraint("rejected_id", name=op.f("pk_rejected")),
    )
    op.create_index(op.f("ix_rejected_inbox_id"), "rejected", ["inbox_id"], unique=False)
    op.create_index(op.f("ix_rejected_sample_id"), "rejected", ["sample_id"], unique=False)
    op.create_table(
        "sites",
        sa.Column("site_id", ROW_ID, nullable=False),
        sa.Column("sample_id", sa.String(length=64), nullable=False),
        sa.Column("instrument_id", sa.String(length=64), nullable=False),
        sa.Column("frame_id", sa.Uuid(), nullable=False),
        sa.Column("position_x_mm", sa.Double(), nullable=True),
        sa.Column("position_y_mm", sa.Double(), nullable=True),
        sa.Column("radius_um", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["instrument_id"], ["instruments.instrument_id"], name=op.f("fk_sites_instrument_id")
        ),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.sample_id"], name=op.f("fk_sites_sample_id")),
        sa.PrimaryKeyConstraint("site_id", name=op.f("pk_sites")),
    )
    op.create_index(op.f("ix_sites_sample_id"), "sites", ["sample_id"], unique=False)
    op.create_table(
        "summaries",
        sa.Column("sample_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.sample_id"], name=op.f("fk_summaries_sample_id")),
        sa.PrimaryKeyConstraint("sample_id", name=op.f("pk_summaries")),
    )
    op.create_table(
        "acts",
        sa.Column("act_id", sa.Uuid(), nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sample_id", sa.String(length=64), nullable=False),
        sa.Column("instrument_id", sa.String(length=64), nullable=False),
        sa.Column("site_id", ROW_ID, nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("parameters", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("requested_by", sa.String(length=16), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("claim_id", sa.Uuid(), nullable=True),
        sa.Column("frame_before", sa.Uuid(), nullable=True),
        sa.Column("frame_after", sa.Uuid(), nullable=True),
        sa.Column("frames_planned", sa.Integer(), nullable=False),
        sa.Column("frames_done", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("running_until", TIME, nullable=True),
        sa.Column("analysis_until", TIME, nullable=True),
        sa.Column("outcome", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("late_frames", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instrument_id"], ["instruments.instrument_id"], name=op.f("fk_acts_instrument_id")
        ),
        sa.ForeignKeyConstraint(["sample_id"], ["samples.sample_id"], name=op.f("fk_acts_sample_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name=op.f("fk_acts_site_id")),
        sa.PrimaryKeyConstraint("act_id", name=op.f("pk_acts")),
        sa.UniqueConstraint("claim_id", name=op.f("uq_acts_claim_id")),
        sa.UniqueConstraint("request_id", name=op.f("uq_acts_request_id")),
    )
    op.create_index(op.f("ix_acts_instrument_id_state"), "acts", ["instrument_id", "state"], unique=False)
    op.create_index(op.f("ix_acts_sample_id_state"), "acts", ["sample_id", "state"], unique=False)
    op.create_index(op.f("ix_acts_site_id"), "acts", ["site_id"], unique=False)
    op.create_table(
        "analyses",
        sa.Column("analysis_no", ROW_ID, nullable=False),
        sa.Column("analysis_id", sa.Uuid(), nullable=False),
        sa.Column("frame_id", sa.Uuid(), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("settings", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("settings_sha256", sa.String(length=64), nullable=False),
        sa.Column("code_version", sa.String(length=64), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("regime", sa.String(length=16), nullable=False),
        sa.Column("pixel_size_nm", sa.Double(), nullable=True),
        sa.Column("hfw_um", sa.Double(), nullable=True),
        sa.Column("particle_count", sa.Integer(), nullable=False),
        sa.Column("uncertain_fraction", sa.Double(), nullable=True),
        sa.Column("d50_number_all_um", sa.Double(), nullable=True),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("summary", sa.LargeBinary(), nullable=False),
        sa.Column("analysed_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["frame_id"], ["frames.frame_id"], name=op.f("fk_analyses_frame_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["model_sha256"], ["models.sha256"], name=op.f("fk_analyses_model_sha256")),
        sa.PrimaryKeyConstraint("analysis_no", name=op.f("pk_analyses")),
        sa.UniqueConstraint("analysis_id", name=op.f("uq_analyses_analysis_id")),
        sa.UniqueConstraint(
            "frame_id", "model_sha256", "settings_sha256", "code_version", name="uq_analyses_identity"
        ),
    )
    op.create_index(
        "uq_analyses_current",
        "analyses",
        ["frame_id"],
        unique=True,
        sqlite_where=sa.text("current"),
        postgresql_where=sa.text("current"),
    )
    op.create_table(
        "analysis_masks",
        sa.Column("analysis_no", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["analysis_no"],
            ["analyses.analysis_no"],
            name=op.f("fk_analysis_masks_analysis_no"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("analysis_no", name=op.f("pk_analysis_masks")),
    )
    op.create_table(
        "particles",
        sa.Column("analysis_no", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("label", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("y0", sa.Integer(), nullable=False),
        sa.Column("x0", sa.Integer(), nullable=False),
        sa.Column("y1", sa.Integer(), nullable=False),
        sa.Column("x1", sa.Integer(), nullable=False),
        sa.Column("centroid_x_px", sa.Double(), nullable=False),
        sa.Column("centroid_y_px", sa.Double(), nullable=False),
        sa.Column("area_px", sa.Double(), nullable=False),
        sa.Column("area_full_px", sa.Double(), nullable=False),
        sa.Column("ecd_px", sa.Double(), nullable=False),
        sa.Column("feret_max_px", sa.Double(), nullable=True),
        sa.Column("feret_min_px", sa.Double(), nullable=True),
        sa.Column("perimeter_px", sa.Double(), nullable=True),
        sa.Column("aspect_ratio", sa.Double(), nullable=True),
        sa.Column("circularity_iso", sa.Double(), nullable=True),
        sa.Column("form_factor", sa.Double(), nullable=True),
        sa.Column("solidity", sa.Double(), nullable=True),
        sa.Column("convexity", sa.Double(), nullable=True),
        sa.Column("orientation_deg", sa.Double(), nullable=True),
        sa.Column("objectness", sa.Double(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("mask_quality", sa.Double(), nullable=False),
        sa.Column("certain", sa.Boolean(), nullable=False),
        sa.Column("cut_by_edge", sa.Boolean(), nullable=False),
        sa.Column("edge_weight", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["analysis_no"],
            ["analyses.analysis_no"],
            name=op.f("fk_particles_analysis_no"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("analysis_no", "label", name=op.f("pk_particles")),
        sqlite_with_rowid=False,
    )
