"""A frame's numbers, and a sample's blocks with their intervals."""

from uuid import UUID, uuid5

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsem.morphology import (
    FrameParticles,
    history_variance,
    measure_particles,
    summarize_frame,
    summarize_sample,
)
from labsem.morphology.intervals import d50_interval, pooled_uncertain_fraction
from schemas.morphology import Flag

_SPACE = UUID(int=7)


def _particles(sizes_px, *, hfw_um=100.0, index=0, certain=None, flags=(), floor=None) -> FrameParticles:
    sizes = np.asarray(sizes_px, float)
    n = len(sizes)
    return FrameParticles(
        frame_id=uuid5(_SPACE, f"{index}-{hfw_um}"),
        hfw_um=hfw_um,
        um_per_px=None if hfw_um is None else hfw_um / 1000,
        width_px=1000,
        ecd_px=sizes,
        edge_weight=np.ones(n),
        certain=np.ones(n, bool) if certain is None else np.asarray(certain, bool),
        cut_by_edge=np.zeros(n, bool),
        aspect_ratio=np.full(n, 0.8),
        circularity_iso=np.full(n, 0.9),
        solidity=np.full(n, np.nan),
        area_coverage=0.1,
        detection_floor_px=floor,
        flags=tuple(flags),
    )


def _sample(rng, frames, between=0.0, n=40, **more) -> list[FrameParticles]:
    within = np.sqrt(0.16 - between**2)
    return [
        _particles(
            np.exp(np.log(30) + rng.normal(0, between) + rng.normal(0, within, n)), index=index, **more
        )
        for index in range(frames)
    ]


def test_a_frame(draw):
    parts = [(draw.disc(40), 20 + 60 * row, 20 + 60 * column) for row in range(4) for column in range(5)]
    parts.append((draw.disc(40), 120, -15))
    confidence = [0.9] * 15 + [0.3] * 5 + [0.2]
    segmentation = draw.segmentation(parts, 300, 400, confidence)
    rng = np.random.default_rng(0)
    pixels = np.clip(50 + 120 * (segmentation.label_image > 0) + rng.normal(0, 4, (300, 400)), 0, 255).astype(
        np.uint8
    )
    numbers = summarize_frame(
        measure_particles(segmentation, 500.0),
        pixels,
        detection_floor_px=9.0,
        scale_relative_uncertainty=0.03,
    )
    assert (numbers.particle_count, numbers.certain_count, numbers.uncertain_count) == (21, 15, 6)
    assert (numbers.cut_by_edge_count, numbers.uncertain_fraction.n) == (1, 20)
    assert numbers.uncertain_fraction.value == 0.25
    assert numbers.uncertain_fraction.lower_95 < 0.25 < numbers.uncertain_fraction.upper_95
    assert (numbers.sizes.number.all.n, numbers.sizes.number.certain.n) == (20, 15)
    assert numbers.sizes.number.all.d50_um == pytest.approx(20, rel=0.01)
    assert numbers.sizes.volume.all.d50_px == pytest.approx(40, rel=0.01)
    assert numbers.area_coverage == pytest.approx(np.mean(segmentation.label_image > 0))
    assert numbers.shapes.circularity_iso.p50 == pytest.approx(1, abs=0.01)
    assert numbers.detection_floor_um == 4.5
    assert numbers.flags == (Flag.SCALE_UNVERIFIED,)
    assert set(numbers.fields()) >= {"width_px", "focus", "flags", "scale_relative_uncertainty"}


def test_flags_of_a_frame(draw):
    pixels = np.full((300, 400), 128, np.uint8)
    empty = summarize_frame(measure_particles(draw.segmentation([], 300, 400), None), pixels)
    assert set(empty.flags) == {Flag.SCALE_UNKNOWN, Flag.NO_PARTICLES}
    assert (empty.uncertain_fraction.value, empty.uncertain_fraction.lower_95, empty.focus) == (None, 0, None)
    parts = [(draw.disc(200), 20, 20), (draw.disc(280), 5, 150)]
    rng = np.random.default_rng(0)
    segmentation = draw.segmentation(parts, 300, 440)
    noisy = np.clip(100 + 40 * (segmentation.label_image > 0) + rng.normal(0, 60, (300, 440)), 0, 255)
    numbers = summarize_frame(
        measure_particles(segmentation, 10.0),
        noisy.astype(np.uint8),
        detection_floor_px=150.0,
        out_of_distribution=True,
        scale_verified=True,
    )
    expected = {
        Flag.CROWDED,
        Flag.SIZE_NEAR_FIELD,
        Flag.NEAR_DETECTION_FLOOR,
        Flag.OUT_OF_DISTRIBUTION,
        Flag.NOISY,
    }
    assert set(numbers.flags) == expected


def test_blocks_follow_the_field_width():
    rng = np.random.default_rng(0)
    frames = [
        *_sample(rng, 2, hfw_um=None),
        *_sample(rng, 3, hfw_um=100.0),
        *_sample(rng, 1, hfw_um=100.9),
        *_sample(rng, 5, hfw_um=50.0),
    ]
    blocks = summarize_sample(frames, scale_relative_uncertainty=0.03)
    assert [block.frames for block in blocks] == [5, 4, 2]
    assert [block.hfw_um for block in blocks] == [50, pytest.approx(100.225), None]
    assert blocks[0].sizes.number.all.d50_interval_95_um is not None
    assert Flag.TOO_FEW_FRAMES not in blocks[0].flags
    assert set(blocks[1].flags) == {Flag.TOO_FEW_FRAMES, Flag.SCALE_UNVERIFIED}
    assert blocks[1].sizes.number.all.log_d50_se is None
    assert blocks[1].sizes.number.all.d50_px is None
    assert set(blocks[2].flags) == {Flag.TOO_FEW_FRAMES, Flag.SCALE_UNKNOWN}
    assert (blocks[2].sizes.number.all.d50_um, blocks[2].scale_relative_uncertainty) == (None, None)
    assert blocks[2].sizes.number.all.d50_px == pytest.approx(30, rel=0.2)
    assert blocks[0].particle_count == 200
    assert blocks[0].shapes.solidity is None


def test_few_frames_borrow_from_history():
    rng = np.random.default_rng(1)
    history = history_variance([_sample(rng, 6, between=0.1) for _ in range(30)])
    # Between frames 0.1^2, within (0.15 / 40) pi / 2 of the median.
    assert history["number", "all"] == pytest.approx(0.01 + 0.15 / 40 * np.pi / 2, rel=0.35)
    (block,) = summarize_sample(_sample(rng, 3), history=history)
    assert block.sizes.number.all.log_d50_se == pytest.approx(np.sqrt(history["number", "all"] / 3))
    assert block.sizes.number.all.d50_interval_95_um is None
    assert {Flag.SE_ASSUMED, Flag.TOO_FEW_FRAMES} <= set(block.flags)
    (enough,) = summarize_sample(_sample(rng, 5), history=history)
    assert Flag.SE_ASSUMED not in enough.flags
    assert history_variance([[_particles([3.0])]]) == {}


@given(seed=st.integers(0, 10**6), factor=st.floats(1e-3, 1e3))
@settings(max_examples=8, deadline=None)
def test_intervals_are_symmetric_on_the_log_scale_and_follow_the_unit(seed, factor):
    frames = _sample(np.random.default_rng(seed), 6, between=0.1)
    sizes, weights = [frame.ecd_px for frame in frames], [frame.edge_weight for frame in frames]
    found = d50_interval(sizes, weights, 100)
    again = d50_interval([each * factor for each in sizes], weights, 100)
    middle = np.median(np.concatenate(sizes))
    for low, high in (found.interval_95, found.interval_97_5):
        assert low < middle < high
        assert np.sqrt(low * high) == pytest.approx(middle, rel=1e-6)
    assert again.log_d50_se == pytest.approx(found.log_d50_se)
    assert again.interval_95 == pytest.approx(tuple(each * factor for each in found.interval_95))
    assert found.interval_97_5[1] > found.interval_95[1]


def test_the_same_frames_give_the_same_numbers():
    frames = _sample(np.random.default_rng(5), 7)
    assert summarize_sample(frames) == summarize_sample(frames[::-1])


def test_empty_frames_and_samples():
    frames = [_particles([], index=index) for index in range(6)]
    (block,) = summarize_sample(frames)
    assert Flag.NO_PARTICLES in block.flags
    assert (block.sizes.number.all.n, block.sizes.number.all.log_d50_se) == (0, None)
    assert block.uncertain_fraction.value is None
    (mixed,) = summarize_sample([*frames[:4], *_sample(np.random.default_rng(0), 2)])
    assert mixed.sizes.number.all.d50_interval_95_um is not None
    assert summarize_sample([]) == ()


def test_flags_of_frames_reach_the_block():
    frames = [
        _particles([30.0] * 5, index=index, flags=[Flag.BLURRED] if index < 2 else []) for index in range(8)
    ]
    (block,) = summarize_sample(frames, scale_verified=True)
    assert block.flags == (Flag.BLURRED,)
    (fewer,) = summarize_sample(frames[1:], scale_verified=True)
    assert fewer.flags == ()
    (large,) = summarize_sample([_particles([400.0], floor=300.0)], scale_verified=True)
    assert set(large.flags) == {Flag.SIZE_NEAR_FIELD, Flag.NEAR_DETECTION_FLOOR, Flag.TOO_FEW_FRAMES}


def test_uncertain_fraction_of_frames_that_differ():
    alike = pooled_uncertain_fraction([5] * 10, [10] * 10)
    unlike = pooled_uncertain_fraction([0, 10] * 5, [10] * 10)
    assert (alike.method, unlike.method) == ("frame_bootstrap", "frame_bootstrap")
    assert unlike.upper_95 - unlike.lower_95 > alike.upper_95 - alike.lower_95
    assert (alike.value, unlike.value) == (0.5, 0.5)
    few = pooled_uncertain_fraction([1, 2], [10, 10])
    assert (few.method, few.value) == ("wilson", 0.15)
    none = pooled_uncertain_fraction([0] * 6, [4] * 6)
    assert none.lower_95 == 0
    assert none.upper_95 > 0.05


def _coverage(frames: int, correlation: float, runs: int, resamples: int) -> float:
    """Share of intervals that hold the true D50, sizes lognormal with the given intraclass correlation."""
    rng = np.random.default_rng(100 * frames + int(1000 * correlation))
    between = 0.4 * np.sqrt(correlation)
    held = 0
    for _ in range(runs):
        sample = _sample(rng, frames, between)
        found = d50_interval(
            [frame.ecd_px for frame in sample], [frame.edge_weight for frame in sample], resamples
        )
        held += found.interval_95[0] <= 30 <= found.interval_95[1]
    return held / runs


@pytest.mark.parametrize(("frames", "correlation"), [(5, 0.0), (10, 0.1)])
def test_intervals_cover(frames, correlation):
    # 120 runs: three standard errors of a nominal 95 % are 6 points.
    assert 0.88 <= _coverage(frames, correlation, 120, 100) <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("frames", [5, 10, 30])
@pytest.mark.parametrize("correlation", [0.0, 0.1])
def test_intervals_cover_in_every_cell(frames, correlation):
    assert 0.925 <= _coverage(frames, correlation, 1000, 400) <= 0.975
