"""Microscopes behind one protocol."""
