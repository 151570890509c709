"""Frames with about so many particles."""

import numpy as np
import pytest

from labsem.bench.frames import frame_of, median_px


@pytest.mark.parametrize("wanted", [10, 60])
def test_a_frame_holds_about_the_particles_that_were_asked_for(wanted: int) -> None:
    frame = frame_of(wanted, 3, 720, 480)
    assert 0.5 * wanted <= len(frame.particles) <= 1.6 * wanted
    assert np.median([each.ecd_px for each in frame.particles]) == pytest.approx(
        median_px(wanted, 720, 480), rel=0.4
    )
    assert np.array_equal(frame.pixels, frame_of(wanted, 3, 720, 480).pixels)
