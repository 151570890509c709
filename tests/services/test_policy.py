"""The rescan policy as a table, and what holds for every input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsem.morphology import wilson_bounds
from schemas.acts import Capabilities, RescanParameters, RescanReason
from schemas.image import Acquisition
from schemas.morphology import Regime, Specks, UncertainFraction
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
CARPET = Specks(count=400, area_fraction=0.08, ecd_px=4.0)
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
    **more: Any,
) -> FrameEvidence:
    return FrameEvidence(
        regime, fraction(uncertain, n), focus, ratio, acquisition, x_mm, 2.0, width_px=1000, **more
    )


def rescan_of(
    frame: FrameEvidence, *tried: RescanParameters, capabilities: Capabilities = CAPABILITIES
) -> RescanParameters:
    attempts = Attempts(site=len(tried), sample=len(tried), hour=len(tried), remedies=tried)
    decision = decide(
        frame,
        settings=SETTINGS.model_copy(update={"attempts_per_site": 9}),
        capabilities=capabilities,
        attempts=attempts,
    )
    assert decision.kind == "rescan", decision.detail
    return decision.parameters


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
        (evidence(uncertain=30, focus=0.3, ratio=2.0), "rescan", ["blurred", "noisy"]),  # they explain it
        (evidence(n=0), "rescan", ["too_few"]),
        (evidence(n=0, focus=0.3), "rescan", ["blurred", "too_few"]),
        (evidence(focus=None, ratio=None), "none", []),
        (evidence(charging=0.2), "rescan", ["charged"]),
        (evidence(d50_px=8.0, detection_floor_px=6.0), "rescan", ["too_small"]),
        (evidence(d50_px=10.0, detection_floor_px=6.0), "none", []),
        (
            evidence(d50_px=8.0, detection_floor_px=6.0, ratio=2.0),
            "rescan",
            ["noisy"],
        ),  # noise has specks too
        (evidence(n=0, specks=CARPET), "rescan", ["too_small"]),
        (evidence(n=9, specks=CARPET, area_coverage=0.05), "none", []),  # what was found covers as much
        (evidence(d90_px=340.0), "rescan", ["size_near_field"]),
        (evidence(d90_px=250.0), "none", []),
        (evidence(n=9, d90_px=250.0), "rescan", ["size_near_field"]),  # and there are few
        (evidence(n=0, largest_cut_px=300.0), "rescan", ["size_near_field"]),
        (evidence(n=3, d90_px=400.0, focus=0.4), "rescan", ["size_near_field", "blurred"]),
        (evidence(area_coverage=0.6), "rescan", ["crowded"]),
        (evidence(solidity=0.8), "rescan", ["agglomerated"]),
        (evidence(area_coverage=0.6, plan_goes_on=True), "none", ["crowded"]),
        (evidence(area_coverage=0.6, focus=0.3, plan_goes_on=True), "rescan", ["blurred", "crowded"]),
    ],
)
def test_decisions(frame: FrameEvidence, kind: str, reasons: list[str]) -> None:
    decision = decide(frame, settings=SETTINGS, capabilities=CAPABILITIES)
    assert decision.kind == kind
    assert [reason.value for reason in decision.reasons] == reasons
    assert bool(decision.detail) == bool(reasons)


def test_uncertain_repeats_closer_and_then_asks_a_person() -> None:
    frame = evidence(uncertain=30)
    decision = decide(frame, settings=SETTINGS, capabilities=CAPABILITIES)
    parameters = decision.parameters
    assert (parameters.position_x_mm, parameters.position_y_mm, parameters.hfw_um) == (1.0, 2.0, 50)
    assert parameters.autofocus
    assert (parameters.dwell_time_ns, parameters.frame_averages) == (400, 4)
    assert parameters.detector == "bsd"
    assert "75%" in decision.detail
    assert "35%" in decision.detail
    again = decide(
        frame,
        settings=SETTINGS,
        capabilities=CAPABILITIES,
        attempts=Attempts(
            site=1, sample=1, hour=1, remedies=(parameters,), reasons=frozenset(decision.reasons)
        ),
    )
    assert again.kind == "advised"
    assert "a person should look" in again.detail
    refocused = RescanParameters(autofocus=True)
    assert rescan_of(frame, refocused).hfw_um == 50, "what was done for another reason was no closer look"


def test_blurred_refocuses_and_nothing_else() -> None:
    parameters = decide(evidence(focus=0.3), settings=SETTINGS, capabilities=CAPABILITIES).parameters
    assert parameters.autofocus
    assert (parameters.dwell_time_ns, parameters.frame_averages) == (400, 4)


def test_noisy_asks_for_the_dose_that_reaches_the_threshold() -> None:
    parameters = decide(evidence(ratio=2.0), settings=SETTINGS, capabilities=CAPABILITIES).parameters
    assert not parameters.autofocus
    # (2 x 4 / 2)^2 = 16 times, of which the longest dwell time gives 8.
    assert (parameters.dwell_time_ns, parameters.frame_averages) == (3200, 8)


def test_noisy_is_bounded_by_the_time_of_a_scan() -> None:
    slow = CAPABILITIES.model_copy(update={"width_px": 1920, "height_px": 1200})
    settings = SETTINGS.model_copy(update={"longest_scan_s": 10.0})  # the frame took 3.7 s
    parameters = decide(evidence(ratio=2.0), settings=settings, capabilities=slow).parameters
    assert (parameters.dwell_time_ns, parameters.frame_averages) == (1600, 4)
    decision = decide(
        evidence(ratio=2.0), settings=SETTINGS.model_copy(update={"longest_scan_s": 1.0}), capabilities=slow
    )
    assert decision.kind == "advised"


def test_blurred_corrects_astigmatism_where_the_instrument_can() -> None:
    able = CAPABILITIES.model_copy(update={"autostigmation": True})
    parameters = rescan_of(evidence(focus=0.3), capabilities=able)
    assert parameters.autofocus
    assert parameters.autostigmation
    assert not rescan_of(evidence(focus=0.3)).autostigmation
    by_hand = CAPABILITIES.model_copy(update={"autofocus": False})
    assert "focus by hand" in decide(evidence(focus=0.3), settings=SETTINGS, capabilities=by_hand).detail


def test_charged_lets_gas_in_then_lowers_the_voltage_then_changes_the_detector() -> None:
    able = CAPABILITIES.model_copy(
        update={"charge_reductions": ("off", "low", "medium", "high"), "voltage_range_kv": (5.0, 15.0)}
    )
    taken = TAKEN.model_copy(update={"accelerating_voltage_kv": 10.0})
    mild = rescan_of(evidence(charging=0.15, acquisition=taken), capabilities=able)
    assert mild.charge_reduction == "medium"
    assert (mild.position_x_mm, mild.hfw_um, mild.autofocus) == (1.0, 100, False)
    assert rescan_of(evidence(charging=0.4, acquisition=taken), capabilities=able).charge_reduction == "high"
    more = rescan_of(evidence(charging=0.15, acquisition=taken), mild, capabilities=able)
    assert more.charge_reduction == "high"
    lower = rescan_of(evidence(charging=0.15, acquisition=taken), mild, more, capabilities=able)
    assert (lower.charge_reduction, lower.accelerating_voltage_kv) == ("high", 6.0)
    lowest = TAKEN.model_copy(update={"accelerating_voltage_kv": 5.0})
    other = rescan_of(evidence(charging=0.15, acquisition=lowest), mild, more, lower, capabilities=able)
    assert other.detector == "sed"
    decision = decide(evidence(charging=0.15), settings=SETTINGS, capabilities=CAPABILITIES)
    assert decision.parameters.detector == "sed", "no gas, no voltage: another detector at once"
    single = CAPABILITIES.model_copy(update={"detectors": ("bsd",)})
    advised = decide(evidence(charging=0.15), settings=SETTINGS, capabilities=single)
    assert advised.kind == "advised"
    assert "coat the sample" in advised.detail


def test_too_small_looks_closer_and_near_the_field_looks_wider() -> None:
    closer = rescan_of(evidence(d50_px=8.0, detection_floor_px=6.0))
    assert closer.hfw_um == pytest.approx(20)  # 8 px become 40 px
    assert closer.autofocus
    assert (closer.position_x_mm, closer.position_y_mm) == (1.0, 2.0)
    assert rescan_of(evidence(n=0, specks=CARPET)).hfw_um == pytest.approx(10)  # of 4 px
    assert rescan_of(evidence(n=3, d90_px=400.0)).hfw_um == pytest.approx(800)  # 400 px become 50 px
    widest = CAPABILITIES.model_copy(update={"hfw_max_um": 100.0})
    decision = decide(evidence(d90_px=400.0), settings=SETTINGS, capabilities=widest)
    assert "largest already" in decision.detail


@pytest.mark.parametrize("more", [{"area_coverage": 0.7}, {"solidity": 0.7}, {"n": 0}])
def test_another_place_is_chosen_without_looking_and_within_reach(more: dict[str, Any]) -> None:
    frame = evidence(**more)
    places = set()
    for before in range(12):
        decision = decide(
            frame,
            settings=SETTINGS.model_copy(update={"attempts_per_sample": 99}),
            capabilities=CAPABILITIES,
            attempts=Attempts(sample=before),
        )
        parameters = decision.parameters
        x_mm, y_mm = parameters.position_x_mm, parameters.position_y_mm
        assert np.hypot(x_mm - 1.0, y_mm - 2.0) == pytest.approx(0.4, abs=1e-3)  # 4 fields of 100 um
        assert parameters.hfw_um == 100
        places.add((x_mm, y_mm))
        assert "another place" in decision.detail
    assert len(places) == 12
    fixed = CAPABILITIES.model_copy(update={"stage_x_range_mm": None})
    assert "cannot be moved" in decide(frame, settings=SETTINGS, capabilities=fixed).detail
    edge = CAPABILITIES.model_copy(update={"stage_x_range_mm": (0.9, 10.0), "stage_y_range_mm": (1.9, 2.1)})
    near = [
        decide(frame, settings=SETTINGS, capabilities=edge, attempts=Attempts(sample=k)).kind
        for k in range(9)
    ]
    assert set(near) <= {"rescan", "advised"}
    assert "rescan" in near


def test_averages_where_dwell_time_cannot_be_set() -> None:
    fixed = CAPABILITIES.model_copy(update={"dwell_times_ns": ()})
    parameters = decide(evidence(ratio=2.0), settings=SETTINGS, capabilities=fixed).parameters
    assert (parameters.dwell_time_ns, parameters.frame_averages) == (400, 64)


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
        ({}, CAPABILITIES.model_copy(update={"hfw_max_um": 40.0}), Attempts(), "largest, 40 um"),
        ({}, CAPABILITIES, Attempts(cooling_s=12.0), "asked again in 12 s"),
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
