"""Large frames are filtered in bands of rows, and no seam shows in a number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsem.morphology import bands
from labsem.morphology.bands import BAND_PX
from labsem.morphology.quality import charging, focus_measure, noise_level, signal_to_noise
from labsem.morphology.specks import find_specks
from labsem.simulation import random_frame


@given(st.integers(1, 5 * BAND_PX), st.integers(0, 20))
def test_bands_are_the_frames_rows_each_once(height_px: int, halo_px: int) -> None:
    rows = np.arange(height_px)
    seen = []
    for band in bands.bands(height_px, halo_px):
        assert (rows[band.padded][band.inner] == rows[band.rows]).all()
        assert band.padded.start == max(0, band.rows.start - halo_px)
        assert band.padded.stop == min(height_px, band.rows.stop + halo_px)
        seen.append(rows[band.rows])
    assert (np.concatenate(seen) == rows).all()


@pytest.mark.parametrize("rows", [32, 160])
def test_numbers_do_not_hang_on_the_bands(rows: int, monkeypatch) -> None:
    frame = random_frame(3, "low", 320, 330)
    pixels = frame.pixels.astype(np.uint16) * 201
    covered = np.zeros(pixels.shape, np.bool_)
    covered[:, 200:] = True

    def numbers() -> list[float]:
        specks = find_specks(pixels, covered)
        measures = (focus_measure(pixels), signal_to_noise(pixels), noise_level(pixels), charging(pixels))
        return [*measures, specks.count, specks.area_fraction, specks.ecd_px]

    whole = numbers()
    monkeypatch.setattr(bands, "BAND_PX", rows)
    assert numbers() == pytest.approx(whole, rel=1e-6)
    assert whole[0] is not None and whole[2] > 0 and whole[4] > 0
