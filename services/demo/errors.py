"""Why a demonstration does not end as it should."""

from __future__ import annotations


class DemoError(RuntimeError):
    """The demonstration did not end as it should; the message says what is missing and where the logs lie."""
