"""Planted faults, the error of a frame, and that the bench tells a policy that helps from one that does not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from drivers.virtual import VirtualMicroscope
from labsem.bench.truth import Diameters
from labsem.morphology import measure_particles, summarize_frame
from labsem.segmentation import Segmentation
from labsem.simulation import View, World, render
from labsem.simulation.scene import Component, SceneParameters
from labsem.simulation.sizes import LogNormal
from schemas.acts import RescanReason
from schemas.settings import RescanSettings, Settings
from services.rescan_bench import bench_rescans, run_site
from services.rescan_bench.errors import NOTHING_FOUND, frame_error
from services.rescan_bench.results import SiteResult, confusion, figures
from services.rescan_bench.sites import PLANTED, Fault, Grade, draw_site, microscope_at
from services.segmenters import OtsuSegmenter

SPHERES = SceneParameters((Component("sphere", LogNormal(8.0, 1.2), warp=0.0, roughness=0.0),), coverage=0.2)
VIEW = View(hfw_um=200.0, width_px=640, height_px=400)


@pytest.mark.parametrize("fault", PLANTED)
@pytest.mark.parametrize("regime", ["low", "high"])
def test_a_site_is_what_its_seed_says_and_is_within_the_instruments_reach(fault: Fault, regime: str) -> None:
    able = VirtualMicroscope().capabilities()
    for grade in Grade:
        site = draw_site(5, fault, grade, regime)
        assert site == draw_site(5, fault, grade, regime)
        assert site != draw_site(6, fault, grade, regime)
        assert site.reasons
        assert able.hfw_min_um <= site.taken_hfw_um <= able.hfw_max_um
    assert not draw_site(5, Fault.NONE, None, regime).reasons


def test_grades_rise() -> None:
    def planted(fault: Fault) -> list[float]:
        sites = [draw_site(9, fault, grade, "low") for grade in Grade]
        return [
            {
                Fault.DEFOCUS: abs(site.defocus_um),
                Fault.ASTIGMATISM: site.astigmatism_um,
                Fault.SHORT_DWELL: 1 / site.dwell_time_ns,
                Fault.WRONG_HFW: abs(math.log(site.taken_hfw_um / site.hfw_um)),
                Fault.CROWDING: site.heap.coverage if site.heap else 0.0,
                Fault.CHARGING: site.scene.look.charging,
            }[fault]
            for site in sites
        ]

    for fault in PLANTED:
        mild, medium, strong = planted(fault)
        assert 0 < mild < medium < strong, fault


def test_a_heap_lies_at_the_site_and_nowhere_else() -> None:
    microscope = microscope_at(draw_site(3, Fault.CROWDING, Grade.STRONG, "low"))
    here = microscope.acquire(9.0)
    crowded = microscope.last_frame
    microscope.move_to(here.position_x_mm + 4 * here.acquisition.hfw_um / 1000, here.position_y_mm, 9.0)
    microscope.acquire(9.0)
    assert (crowded.labels > 0).mean() > 2 * (microscope.last_frame.labels > 0).mean()


def test_true_diameters_are_those_of_the_particles_centred_in_the_field() -> None:
    world = World(3, SPHERES)
    d50_um = Diameters(world, VIEW).d50_um(VIEW)
    inside = [
        2 * p.radius_um
        for p in world.particles(-100, -62.5, 100, 62.5)
        if abs(p.x_um) < 100 and abs(p.y_um) < 62.5
    ]
    assert d50_um == pytest.approx(np.median(inside), rel=0.02)
    empty = View(hfw_um=1.0, width_px=64, height_px=64, x_mm=0.0)
    assert Diameters(World(3, SPHERES), VIEW).d50_um(empty) is None


def test_the_error_is_nought_for_the_truth_and_grows_with_what_is_wrong() -> None:
    world = World(4, SPHERES)
    frame = render(world, VIEW)
    true_um = Diameters(world, VIEW).d50_um(VIEW)

    def error(labels: np.ndarray) -> float:
        segmentation = Segmentation.from_labels(labels.astype(np.int32))
        numbers = summarize_frame(measure_particles(segmentation, frame.pixel_size_nm), frame.pixels)
        return frame_error(frame, segmentation.label_image, numbers, true_um)

    perfect = error(frame.labels)
    assert perfect < 0.05, "what is left is occlusion and the sample of particles"
    missed = np.where(frame.labels % 2 == 0, frame.labels, 0)
    assert error(missed) > perfect + 0.2
    assert error(np.zeros_like(frame.labels)) == pytest.approx((NOTHING_FOUND + 1) / 2)


def row(improvement: float | None, *, right: bool = True, rescans: int = 1) -> SiteResult:
    return SiteResult(
        seed=0,
        regime="low",
        fault=Fault.DEFOCUS,
        grade=Grade.STRONG,
        reasons=(RescanReason.BLURRED,) if right else (),
        right=right,
        rescans=rescans,
        error=0.5,
        control_error=0.4,
        policy_error=None if improvement is None else 0.4 * (1 - improvement),
        improvement=0.0 if improvement is None else improvement,
        detail="",
    )


def test_a_site_that_was_left_alone_counts_as_not_improved() -> None:
    found = figures([row(0.8), row(0.6), row(-0.1), row(None, right=False, rescans=0)])
    assert found.improved_fraction == 0.5
    assert found.median_improvement == pytest.approx(0.3)
    assert found.reason_accuracy == 0.75
    assert found.mean_rescans_per_site == 0.75
    assert confusion([row(0.8), row(None, right=False)]) == {"defocus": {"blurred": 1, "none": 1}}
    with pytest.raises(ValueError, match="more sites"):
        figures([])


def test_a_policy_that_acts_is_told_from_one_that_does_not() -> None:
    segmenter, idle = OtsuSegmenter(), Settings(rescans=RescanSettings(attempts_per_site=0))
    site = draw_site(2, Fault.DEFOCUS, Grade.STRONG, "low")
    acted, left = run_site(site, segmenter, Settings()), run_site(site, segmenter, idle)
    assert (acted.error, acted.reasons, acted.right) == (left.error, left.reasons, left.right)
    assert acted.right
    assert (acted.rescans, left.rescans) == (1, 0)
    assert acted.improved
    assert acted.policy_error < acted.control_error / 2
    assert (left.policy_error, left.improvement, left.improved) == (None, 0, False)


def test_a_good_site_has_no_control_and_is_left_alone() -> None:
    good = run_site(draw_site(2, Fault.NONE, None, "high"), OtsuSegmenter(), Settings())
    assert (good.reasons, good.rescans, good.control_error, good.improvement) == ((), 0, None, None)


@pytest.mark.slow
def test_the_policy_helps() -> None:
    result = bench_rescans(24, 5, settings=Settings(), processes=2)
    assert result.improved_fraction >= 0.8
    assert result.median_improvement >= 0.5
    assert result.reason_accuracy >= 0.85
    assert result.false_rescan_rate <= 0.05
    assert result.most_rescans <= result.attempts_per_site
