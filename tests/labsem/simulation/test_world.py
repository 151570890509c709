"""What powders are: sizes, clusters, necks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labsem.simulation import Bimodal, Component, LogNormal, SceneParameters, Substrate, View, World, render
from labsem.simulation.scene import FUSED_NECK

VIEW = View(hfw_um=120.0, width_px=300, height_px=220, dwell_time_ns=1e5)


def drawn(sizes, count=4000):
    rng = np.random.default_rng(3)
    return np.array([sizes.draw(rng) for _ in range(count)])


def test_diameters_are_log_normal():
    sizes = LogNormal(8.0, 1.5)
    logs = np.log(drawn(sizes))
    assert np.exp(np.median(logs)) == pytest.approx(8.0, rel=0.03)
    assert np.exp(logs.std()) == pytest.approx(1.5, rel=0.05)
    assert np.exp(logs.max()) <= sizes.largest_um * 1.0001
    assert (drawn(sizes) ** 2).mean() == pytest.approx(sizes.mean_square_um2, rel=0.1)


def test_a_bimodal_powder_has_two_populations():
    sizes = Bimodal(LogNormal(2.0, 1.2), LogNormal(12.0, 1.2), coarse_share=0.3)
    found = drawn(sizes)
    assert np.mean(found > 5) == pytest.approx(0.3, abs=0.03)
    assert np.mean((found > 3.6) & (found < 7)) < 0.03
    assert (found**2).mean() == pytest.approx(sizes.mean_square_um2, rel=0.05)
    assert sizes.typical_um == 12.0


def test_impossible_sizes_and_necks_are_refused():
    for wrong in (
        lambda: LogNormal(0.0),
        lambda: LogNormal(1.0, 0.9),
        lambda: Bimodal(*[LogNormal(1)] * 2, 2.0),
    ):
        with pytest.raises(ValueError, match="give"):
            wrong()
    with pytest.raises(ValueError, match="neck"):
        Component("sphere", LogNormal(1.0), neck=1.2)


def clusters(neck: float) -> World:
    component = Component("sphere", LogNormal(8.0, 1.1), warp=0.0, primaries=6, neck=neck)
    ground = Substrate(dust=0.0, features_per_field=0.0)
    return World(9, SceneParameters((component,), coverage=0.2, clumping=0.0, piling=0.0, substrate=ground))


def test_fused_primaries_are_one_particle_and_necked_ones_are_their_own():
    apart, necked, fused = (clusters(neck) for neck in (0.0, 0.5, FUSED_NECK + 0.1))
    box = (-60.0, -60.0, 60.0, 60.0)
    assert all(not p.parts and not p.necks for p in apart.particles(*box))
    assert any(p.necks for p in necked.particles(*box))
    assert all(p.parts for p in fused.particles(*box))
    frame = render(fused, VIEW)
    own = render(necked, VIEW)
    assert 2 < len(frame.particles) < 0.5 * len(own.particles)
    for label, (x0, y0, x1, y1) in enumerate(frame.boxes, start=1):
        cut = x0 == 0 or y0 == 0 or x1 == VIEW.width_px or y1 == VIEW.height_px
        assert cut or (frame.labels[y0:y1, x0:x1] == label).sum() > 300  # more than one primary


def test_a_neck_fills_the_gap_between_primaries():
    """Seen from above, grown-together primaries cover what touching ones at the same places leave free."""
    world, near = clusters(0.6), replace(VIEW, width_px=900, height_px=660)
    with_necks = render(world, near).labels > 0
    for cell in world._cells.values():
        for particle in cell.particles:
            object.__setattr__(particle, "necks", ())
    without = render(world, near).labels > 0
    assert not (without & ~with_necks).any()
    assert (with_necks & ~without).sum() > 40


def test_a_bed_of_powder_fills_the_field():
    component = Component("sphere", LogNormal(8.0, 1.3))
    bed = SceneParameters((component,), coverage=2.2, piling=1.0)
    frame = render(World(4, bed), VIEW)
    assert np.mean(frame.labels > 0) > 0.8
    visible = [p.visible_fraction for p in frame.particles]
    assert np.mean(np.array(visible) < 0.8) > 0.2
    thin = render(World(4, replace(bed, coverage=0.1, piling=0.0)), VIEW)
    assert np.mean(thin.labels > 0) < 0.2
