"""The database: ``Store.open(url)``, and functions on its sessions in one module for each matter."""

from labsem.store.database import Store
from labsem.store.errors import (
    ConflictError,
    LeaseLostError,
    NotFoundError,
    RefusedError,
    StoreError,
    StoreLockedError,
    StoreUnavailableError,
    StoreVersionError,
)
from labsem.store.migration import CheckResult, UpgradeResult, check, upgrade

__all__ = [
    "CheckResult",
    "ConflictError",
    "LeaseLostError",
    "NotFoundError",
    "RefusedError",
    "Store",
    "StoreError",
    "StoreLockedError",
    "StoreUnavailableError",
    "StoreVersionError",
    "UpgradeResult",
    "check",
    "upgrade",
]
