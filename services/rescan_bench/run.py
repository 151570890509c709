"""Rescan sites with planted faults as the policy says, and as a control without any change."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from drivers.base import AcquiredFrame
from drivers.targets import go_to
from drivers.virtual import VirtualMicroscope
from labsem.bench.truth import Diameters
from labsem.morphology import FrameNumbers, measure_particles, summarize_frame
from labsem.regimes import route
from labsem.simulation import SIMULATOR_VERSION, SimulatedFrame, View
from labsem.simulation.scene import Regime as SceneRegime
from schemas.acts import RescanParameters, RescanReason
from schemas.morphology import Regime
from schemas.settings import Settings
from services.gateway.acts import target_at
from services.policy import Attempts, FrameEvidence, PolicyDecision, decide, thresholds
from services.rescan_bench.errors import frame_error
from services.rescan_bench.results import JUDGED, RescanBench, SiteResult, confusion, figures
from services.rescan_bench.sites import PLANTED, Fault, Grade, Site, draw_site, microscope_at
from services.segmenters import Segmenter, load_segmenter
from services.workers import map_in_workers

TIMEOUT_S = 60.0
_GRADES = (*JUDGED, Grade.MILD)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Taken:
    frame: AcquiredFrame
    regime: Regime
    numbers: FrameNumbers
    error: float


def bench_rescans(
    sites: int, seed: int, *, settings: Settings, processes: int, progress: Progress | None = None
) -> RescanBench:
    """Plant faults at ``sites`` virtual sites, leave as many good ones, and see what the policy makes of them.

    Each site with a fault is rescanned from the same state as the policy says, until it is content or its attempts
    are used up, and once as a control with unchanged parameters: a frame that was chosen for being bad improves on
    any repeat. Sites are shared out to ``processes`` workers of one thread each.
    """
    begun = time.monotonic()
    segmenter = load_segmenter(
        models=settings.models
    )  # here too: weights that do not load are told of in words
    numbered = [_site(number, sites, seed) for number in range(2 * sites)]
    models = settings.models.model_copy(update={"threads": 1})
    rows = map_in_workers(
        _run_loaded,
        numbered,
        start=partial(_load, settings.model_copy(update={"models": models})),
        processes=processes,
        progress=progress,
    )
    planted = [row for row in rows if row.grade is not None]
    good = [row for row in rows if row.grade is None]
    judged = [row for row in planted if row.grade in JUDGED]
    found = figures(judged)
    return RescanBench(
        sites=sites,
        good_sites=len(good),
        seed=seed,
        improved_fraction=found.improved_fraction,
        improved_fraction_bounds_95=found.improved_fraction_bounds_95,
        median_improvement=found.median_improvement,
        reason_accuracy=found.reason_accuracy,
        reason_confusion=confusion(rows),
        false_rescan_rate=sum(row.rescans > 0 for row in good) / len(good),
        mean_rescans_per_site=found.mean_rescans_per_site,
        most_rescans=max(row.rescans for row in rows),
        attempts_per_site=settings.rescans.attempts_per_site,
        by_grade={
            grade.value: figures([row for row in planted if row.grade is grade])
            for grade in Grade
            if any(row.grade is grade for row in planted)
        },
        by_fault={
            fault.value: figures([row for row in judged if row.fault is fault])
            for fault in PLANTED
            if any(row.fault is fault for row in judged)
        },
        model=", ".join(
            f"{model.name} {model.version}" for model in map(segmenter.model, (Regime.LOW, Regime.HIGH))
        ),
        simulator_version=SIMULATOR_VERSION,
        seconds=time.monotonic() - begun,
        rows=tuple(rows),
    )


def run_site(site: Site, segmenter: Segmenter, settings: Settings) -> SiteResult:
    """Take a site's first frame, have the policy judge it, and rescan it as it says; a good site has no control."""
    return _Run(site, segmenter, settings).result()


def _load(settings: Settings) -> tuple[Segmenter, Settings]:
    return load_segmenter(models=settings.models), settings


def _run_loaded(loaded: tuple[Segmenter, Settings], site: Site) -> SiteResult:
    return run_site(site, *loaded)


def _site(number: int, sites: int, seed: int) -> Site:
    own = int(np.random.default_rng([seed, number, 59]).integers(2**31))
    regime: SceneRegime = "low" if number % 2 else "high"
    if number >= sites:
        return draw_site(own, Fault.NONE, None, regime)
    # Faults alternate faster than grades, and both regimes get each of them.
    turn = number // 2
    fault, grade = PLANTED[turn % len(PLANTED)], _GRADES[turn // len(PLANTED) % len(_GRADES)]
    return draw_site(own, fault, grade, regime)


class _Run:
    def __init__(self, site: Site, segmenter: Segmenter, settings: Settings) -> None:
        self._site, self._segmenter, self._settings = site, segmenter, settings
        self._diameters: dict[int, Diameters] = {}

    def result(self) -> SiteResult:
        site = self._site
        microscope = microscope_at(site)
        first = self._take(microscope)
        decision = self._decide(first, Attempts(), microscope)
        control_error = policy_error = improvement = None
        rescans = 0
        if site.grade is not None:
            control_error, improvement = self._take(microscope).error, 0.0
        if decision.kind == "rescan":
            policy_error, rescans = self._follow(microscope, first, decision)
            if control_error is not None:
                improvement = 1 - policy_error / control_error
        return SiteResult(
            seed=site.seed,
            regime=site.regime,
            fault=site.fault,
            grade=site.grade,
            reasons=decision.reasons,
            right=bool(decision.reasons) and decision.reasons[0] in site.reasons,
            rescans=rescans,
            error=first.error,
            control_error=control_error,
            policy_error=policy_error,
            improvement=improvement,
            detail=decision.detail,
        )

    def _follow(
        self, microscope: VirtualMicroscope, taken: _Taken, decision: PolicyDecision
    ) -> tuple[float, int]:
        """Rescan until the policy is content; the last frame's error, and how many there were."""
        remedies: list[RescanParameters] = []
        reasons: set[RescanReason] = set()
        while decision.kind == "rescan":
            wanted = decision.parameters
            state, was = microscope.state(), taken.frame
            x_mm = was.position_x_mm if wanted.position_x_mm is None else wanted.position_x_mm
            y_mm = was.position_y_mm if wanted.position_y_mm is None else wanted.position_y_mm
            if x_mm is None or y_mm is None:
                raise RuntimeError("the virtual microscope tells its place")
            go_to(microscope, target_at(x_mm, y_mm, wanted, was.acquisition, state), TIMEOUT_S)
            taken = self._take(microscope)
            remedies.append(wanted)
            done = len(remedies)
            reasons |= set(decision.reasons)
            attempts = Attempts(
                site=done, sample=done, hour=done, remedies=tuple(remedies), reasons=frozenset(reasons)
            )
            decision = self._decide(taken, attempts, microscope)
        return taken.error, len(remedies)

    def _take(self, microscope: VirtualMicroscope) -> _Taken:
        frame = microscope.acquire(TIMEOUT_S)
        models = self._settings.models
        regime = route(
            frame.acquisition, display_width_m=models.display_width_m, split=models.magnification_split
        )
        segmentation = self._segmenter.segment(frame.pixels, regime)
        limits = thresholds(self._settings.rescans, regime)
        numbers = summarize_frame(
            measure_particles(segmentation, frame.acquisition.pixel_size_nm),
            frame.pixels,
            detection_floor_px=self._segmenter.detection_floor_px(regime),
            focus_min=limits.focus_min,
            signal_to_noise_min=limits.signal_to_noise_min,
            covered=segmentation.label_image > 0,
        )
        truth = microscope.last_frame
        if truth is None:
            raise RuntimeError("the virtual microscope keeps its last frame")
        true_d50_um = self._diameters_of(microscope, truth).d50_um(truth.view)
        error = frame_error(truth, segmentation.label_image, numbers, true_d50_um)
        return _Taken(frame, regime, numbers, error)

    def _diameters_of(self, microscope: VirtualMicroscope, truth: SimulatedFrame) -> Diameters:
        state = microscope.state()
        world, _, _ = microscope.holder.world_at(state.x_mm, state.y_mm)
        if id(world) not in self._diameters:
            reference = View(
                x_mm=truth.view.x_mm,
                y_mm=truth.view.y_mm,
                hfw_um=self._site.hfw_um,
                width_px=truth.view.width_px,
                height_px=truth.view.height_px,
            )
            self._diameters[id(world)] = Diameters(world, reference)
        return self._diameters[id(world)]

    def _decide(self, taken: _Taken, attempts: Attempts, microscope: VirtualMicroscope) -> PolicyDecision:
        evidence = FrameEvidence.of(
            taken.numbers,
            regime=taken.regime,
            acquisition=taken.frame.acquisition,
            position_x_mm=taken.frame.position_x_mm,
            position_y_mm=taken.frame.position_y_mm,
        )
        return decide(
            evidence,
            settings=self._settings.rescans,
            capabilities=microscope.capabilities(),
            attempts=attempts,
        )
