"""Pydantic models of all that crosses a boundary: events, summaries, acts, requests, settings."""
