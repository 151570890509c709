"""Alembic scripts; :mod:`labsem.store.migration` runs them."""
