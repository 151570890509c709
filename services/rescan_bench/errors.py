"""How wrong the numbers of a simulated frame are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.aji import aji_plus
from labsem.morphology import FrameNumbers
from labsem.simulation import SimulatedFrame

NOTHING_FOUND = 1.0
"""What a frame without any particle whole in the field counts as the error of ln D50: wrong by a factor of e."""


def frame_error(
    frame: SimulatedFrame, labels: NDArray[np.int32], numbers: FrameNumbers, true_d50_um: float | None
) -> float:
    """Mean of |ln(D50 / true D50)| and 1 - AJI+ against the frame's own ground truth.

    D50 is by number over all particles, corrected for the frame's edge; the true one is that of the particles centred
    in the field. A field in whose midst no particle lies is judged by its AJI+ alone.
    """
    outlines = 1.0 - aji_plus(frame.labels, labels)
    if true_d50_um is None:
        return outlines
    d50_um = numbers.sizes.number.all.d50_um
    size = NOTHING_FOUND if d50_um is None else abs(math.log(d50_um / true_d50_um))
    return (size + outlines) / 2
