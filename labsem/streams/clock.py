"""How far another process's clock is off, as far as one request can tell."""

from __future__ import annotations

from datetime import datetime

SKEW_LIMIT_S = 2.0
"""A larger skew is reported."""


def clock_skew_s(asked_at: datetime, clock: datetime, answered_at: datetime) -> float:
    """The least skew that explains an answer: 0 where its clock lies between asking and answer.

    A slow answer is no skew: the other side may have read its clock at any moment in between. Positive where the
    other clock is ahead.
    """
    if clock > answered_at:
        return (clock - answered_at).total_seconds()
    if clock < asked_at:
        return (clock - asked_at).total_seconds()
    return 0.0
