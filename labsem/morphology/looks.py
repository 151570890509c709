"""When to look whether D50 is known: seldom enough that an interval still covers what it says."""

from __future__ import annotations

from typing import Final

FIRST_LOOK: Final = 15
"""Frames after which D50's interval is first looked at, and then at each doubling.

Looking after every frame would end at the frames that chance has made look narrow (65 % covered instead of 95 %).
"""


def is_look(frames: int) -> bool:
    """Whether D50's interval may be judged after so many frames: 15, 30, 60, 120, …; at the level of 97.5 %."""
    doubled, rest = divmod(frames, FIRST_LOOK)
    return rest == 0 and doubled > 0 and doubled & (doubled - 1) == 0


def known_within(d50: float, interval: tuple[float, float]) -> float:
    """Larger relative distance of an interval's ends from D50."""
    low, high = interval
    return max(high / d50 - 1, 1 - low / d50)
