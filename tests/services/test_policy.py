"""The rescan policy as a table, and what holds for every input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsem.morphology import wilson_bounds
from schemas.acts import Capabilities, RescanReason
from schemas.image import Acquisition
from schemas.morphology import Regime, UncertainFraction
from schemas.settings import RescanSettings
from services.policy import Attempts, FrameEvidence, decide

SETTINGS = RescanSettings()
CAPABILITIES = Capabilities(
    can_act=True,
    hfw_min_um=10,
    hfw_max_um=1000,
    stage_x_range_mm=(-10, 10),
    stage_y_range_mm=(-10, 10),
    detectors=("bsd", "sed"),
    dwell_times_ns=(100, 200, 400, 800, 1600, 3200),
    frame_averages_max=64,
)
TAKEN = Acquisition(hfw_um=100, pixel_size_nm=50, dwell_time_ns=400, frame_averages=4, detector="bsd")


def fraction(uncertain: int, n: int) -> UncertainFraction:
    lower, upper = wilson_bounds(uncertain, n)
    return UncertainFraction(value=uncertain / n if n else None, n=n, lower_95=lower, upper_95=upper)


def evidence(
    uncertain: int = 0,
    n: int = 40,
    focus: float | None = 0.9,
    ratio: float | None = 20.0,
    regime: Regime = Regime.LOW,
    acquisition: Acquisition = TAKEN,
    x_mm: float | None = 1.0,
) -> FrameEvidence:
    return FrameEvidence(regime, fraction(uncertain, n), focus, ratio, acquisition, x_mm, 2.0)


@pytest.mark.parametrize(
    ("frame", "kind", "reasons"),
    [
        (evidence(), "none", []),
        (evidence(uncertain=30), "rescan", ["uncertain"]),
        (evidence(uncertain=2, n=3), "none", []),  # 67 %, but of three particles: the bound is under 35 %
        (evidence(uncertain=25, regime=Regime.HIGH), "none", []),  # 62 %, usual at high magnification
        (evidence(uncertain=39, regime=Regime.HIGH), "rescan", ["uncertain"]),
        (evidence(uncertain=25, regime=Regime.JOINT), "rescan", ["uncertain"]),
        (evidence(focus=0.3), "rescan", ["blurred"]),
        (evidence(ratio=2.0), "rescan", ["noisy"]),
        (evidence(uncertain=30, focus=0.3, ratio=2.0), "rescan", ["blurred", "noisy", "uncertain"]),
        (evidence(n=0), "advised", ["too_few"]),
        (evidence(n=0, focus=0.3), "rescan", ["blurred", "too_few"]),
        (evidence(focus=None, ratio=None), "none", []),
    ],
)
def test_decisions(frame: FrameEvidence, kind: str, reasons: list[str]) -> None:
    decision = decide(frame, settings=SETTINGS, capabilities=CAPABILITIES)
    assert decision.kind == kind
    assert [reason.value for reason in decision.reasons] == reasons
    assert bool(decision.detail) == (kind != "none")


def test_uncertain_asks_for_four_times_the_dose_and_refocuses_at_the_same_place() -> None:
    decision = decide(evidence(uncertain=30), settings=SETTINGS, capabilities=CAPABILITIES)
    parameters = decision.parameters
    assert (parameters.position_x_mm, parameters.position_y_mm, parameters.hfw_um) == (1.0, 2.0, 100)
    assert parameters.autofocus
    assert (parameters.dwell_time_ns, parameters.frame_averages) == (1600, 4)
    assert parameters.detector == "bsd"
    assert "75%" in decision.detail
    assert "35%" in decision.detail


def test_blurred_refocuses_and_nothing_else() -> None:
    parameters = decide(evidence(focus=0.3), settings=SETTINGS, capabilities=CAPABILITIES).parameters
    assert parameters.autofocus
    assert (parameters.dwell_time_ns, parameters.frame_averages) == (400, 4)


def test_noisy_asks_for_the_dose_that_reaches_the_threshold() -> None:
    parameters = decide(evidence(ratio=2.0), settings=SETTINGS, capabilities=CAPABILITIES).parameters
    assert not parameters.autofocus
    assert parameters.dwell_time_ns == 3200  # (1.2 x 4 / 2)^2 = 5.8 times


def test_averages_where_dwell_time_cannot_be_set() -> None:
    fixed = CAPABILITIES.model_copy(update={"dwell_times_ns": ()})
    parameters = decide(evidence(ratio=2.0), settings=SETTINGS, capabilities=fixed).parameters
    assert (parameters.dwell_time_ns, parameters.frame_averages) == (400, 24)


def test_noisy_at_the_most_that_the_instrument_can_do_is_advised() -> None:
    most = CAPABILITIES.model_copy(update={"dwell_times_ns": (400,), "frame_averages_max": 4})
    decision = decide(evidence(ratio=2.0), settings=SETTINGS, capabilities=most)
    assert decision.kind == "advised"
    assert "at the instrument's most" in decision.detail


@pytest.mark.parametrize(
    ("changes", "capabilities", "attempts", "words"),
    [
        ({"approval": "off"}, CAPABILITIES, Attempts(), "approval is off"),
        ({}, None, Attempts(), "tells of no instrument"),
        ({}, Capabilities(can_act=False, cannot=("watches a folder",)), Attempts(), "watches a folder"),
        ({}, CAPABILITIES, Attempts(site=2), "2 of 2 attempts at this place"),
        ({}, CAPABILITIES, Attempts(sample=10), "on this sample"),
        ({}, CAPABILITIES, Attempts(hour=30), "in the last hour"),
        ({}, CAPABILITIES.model_copy(update={"stage_x_range_mm": (-1.0, 0.5)}), Attempts(), "x = 1 mm"),
        ({}, CAPABILITIES.model_copy(update={"hfw_max_um": 50.0}), Attempts(), "100 um"),
    ],
)
def test_what_cannot_be_done_is_advised_with_the_obstacle(changes, capabilities, attempts, words) -> None:
    decision = decide(
        evidence(uncertain=30),
        settings=SETTINGS.model_copy(update=changes),
        capabilities=capabilities,
        attempts=attempts,
    )
    assert decision.kind == "advised"
    assert decision.reasons == (RescanReason.UNCERTAIN,)
    assert words in decision.detail


positive = st.floats(0.1, 1e5)


@given(
    counts=st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    focus=st.none() | st.floats(0, 2),
    ratio=st.none() | st.floats(0, 100),
    regime=st.sampled_from(Regime),
    dwell_ns=st.none() | positive,
    averages=st.none() | st.integers(1, 255),
    dwell_times=st.lists(positive, max_size=5),
    averages_max=st.integers(1, 255),
    site=st.integers(0, 4),
)
def test_any_recommendation_is_within_the_capabilities_and_never_less_than_before(
    counts, focus, ratio, regime, dwell_ns, averages, dwell_times, averages_max, site
) -> None:
    capabilities = CAPABILITIES.model_copy(
        update={"dwell_times_ns": tuple(dwell_times), "frame_averages_max": averages_max}
    )
    taken = Acquisition(hfw_um=100, dwell_time_ns=dwell_ns, frame_averages=averages)
    frame = evidence(*counts, focus=focus, ratio=ratio, regime=regime, acquisition=taken)
    decision = decide(frame, settings=SETTINGS, capabilities=capabilities, attempts=Attempts(site=site))
    parameters = decision.parameters
    assert (decision.kind == "none") == (not decision.reasons)
    if counts[1] == 0:
        assert RescanReason.UNCERTAIN not in decision.reasons
    if decision.kind != "rescan":
        return
    assert site < SETTINGS.attempts_per_site
    if parameters.dwell_time_ns != dwell_ns:
        assert parameters.dwell_time_ns in dwell_times
        assert parameters.dwell_time_ns > dwell_ns
    if parameters.frame_averages != averages:
        assert (averages or 1) < parameters.frame_averages <= averages_max
    assert parameters.autofocus or (parameters.dwell_time_ns, parameters.frame_averages) != (
        dwell_ns,
        averages,
    )
