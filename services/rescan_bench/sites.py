"""Virtual sites with faults that are planted on purpose.

A stand-in: powders, instrument and faults are simulated, and no figure measured here is one of a real instrument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from drivers.stub import NOMINAL_FOCUS_MM, StubHolder
from drivers.virtual import VirtualMicroscope
from labsem.simulation import World
from labsem.simulation.materials import POWDERS
from labsem.simulation.optics import CONVERGENCE_RAD, GAUSSIAN_OF_DISC
from labsem.simulation.powders import powder_scene
from labsem.simulation.scene import Component, Regime, SceneParameters
from labsem.simulation.sizes import LogNormal
from schemas.acts import RescanReason

WIDTH_PX, HEIGHT_PX = 960, 600
SAMPLE = "site"
TYPICAL_PX: Final = (30.0, 50.0)
"""Diameter of the main population's median particle in a frame of the right field width."""

REGIME_HFW_UM: Final[Mapping[Regime, tuple[float, float]]] = {"low": (60.0, 160.0), "high": (20.0, 45.0)}
"""Right field widths of each regime: under and over 10,000x on a display of 0.5 m."""

HEAP_FIELDS = 2.0
"""Radius of a heap of powder, in right field widths."""

INSULATORS: Final = tuple(m for m in POWDERS if m.insulating and m.atomic_number > 10)
"""Polymers are left out: backscattered electrons hardly tell them from the tape, charged or not."""

GOOD_DOSE_NS: Final = (400.0, 4)
"""Dwell time and averages of a careful operator."""


class Fault(StrEnum):
    """What is wrong with a site's first frame."""

    NONE = "none"
    DEFOCUS = "defocus"
    ASTIGMATISM = "astigmatism"
    SHORT_DWELL = "short_dwell"
    WRONG_HFW = "wrong_hfw"
    CROWDING = "crowding"
    CHARGING = "charging"


class Grade(StrEnum):
    """How wrong: the mildest does just so much harm that it can be measured."""

    MILD = "mild"
    MEDIUM = "medium"
    STRONG = "strong"


PLANTED: Final = tuple(fault for fault in Fault if fault is not Fault.NONE)

BLUR_SHARE: Final = {Grade.MILD: 0.08, Grade.MEDIUM: 0.2, Grade.STRONG: 0.4}
"""Standard deviation of the defocus blur over the median diameter; of the sharper axis where there is astigmatism."""

DWELL_NS: Final = {Grade.MILD: 25.0, Grade.MEDIUM: 10.0, Grade.STRONG: 5.0}
"""Of a single scan."""

TOO_LARGE_FIELD_PX: Final = {Grade.MILD: 9.0, Grade.MEDIUM: 6.0, Grade.STRONG: 4.0}
"""Diameter of the median particle where the field is too large for it."""

TOO_SMALL_FIELD_SHARE: Final = {Grade.MILD: 0.2, Grade.MEDIUM: 0.35, Grade.STRONG: 0.6}
"""Diameter of the median particle over the field width where that is too small for it."""

HEAP_COVERAGE: Final = {Grade.MILD: 0.6, Grade.MEDIUM: 1.1, Grade.STRONG: 2.0}
CHARGE: Final = {Grade.MILD: 1.3, Grade.MEDIUM: 2.6, Grade.STRONG: 5.2}


@dataclass(frozen=True)
class Site:
    """A place on a virtual stub and how the instrument stands there, all drawn from the seed.

    Attributes
    ----------
    hfw_um
        The right field width, at which the median particle has ``typical_px``.
    taken_hfw_um
        That of the first frame.
    origin_um
        Where in the powder's world the site lies.
    reasons
        What a policy may call the fault; empty for a good site.
    """

    seed: int
    regime: Regime
    fault: Fault
    grade: Grade | None
    scene: SceneParameters
    heap: SceneParameters | None
    hfw_um: float
    taken_hfw_um: float
    defocus_um: float
    astigmatism_um: float
    dwell_time_ns: float
    frame_averages: int
    detector: str
    origin_um: tuple[float, float]
    reasons: frozenset[RescanReason]

    @property
    def typical_px(self) -> float:
        """Diameter of the main population's median particle at the right field width."""
        return self.scene.typical_um / self.hfw_um * WIDTH_PX


class SiteHolder(StubHolder):
    """One stub: a flat powder and, around the site where there is one, a heap of it."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.seed, (SAMPLE,))
        self._powder = World(site.seed, site.scene)
        self._heap = None if site.heap is None else World(site.seed, site.heap)
        self._origin_mm = site.origin_um[0] / 1000, site.origin_um[1] / 1000
        self._heap_mm = HEAP_FIELDS * site.hfw_um / 1000

    def world_at(self, x_mm: float, y_mm: float) -> tuple[World, float, float]:
        """The heap near the site, the powder elsewhere."""
        near = float(np.hypot(x_mm, y_mm)) <= self._heap_mm
        world = self._heap if near and self._heap is not None else self._powder
        return world, x_mm + self._origin_mm[0], y_mm + self._origin_mm[1]

    def raised_um(self, x_mm: float, y_mm: float) -> float:  # noqa: ARG002
        """The tape lies flat."""
        return 0.0


def draw_site(seed: int, fault: Fault, grade: Grade | None, regime: Regime) -> Site:
    """Draw powder, place and settings of a site with this fault."""
    rng = np.random.default_rng([seed, 53])
    scene = powder_scene(rng)
    typical_px = float(rng.uniform(*TYPICAL_PX))
    hfw_um = float(np.exp(rng.uniform(*np.log(REGIME_HFW_UM[regime]))))
    scene = _scaled(scene, typical_px * hfw_um / WIDTH_PX / scene.typical_um)
    typical_um = scene.typical_um
    detector = "sed" if rng.random() < 0.5 else "bsd"
    sign, share = float(rng.choice([-1.0, 1.0])), float(rng.uniform(-0.5, 0.5))
    insulator = INSULATORS[int(rng.integers(len(INSULATORS)))]
    large_field = bool(rng.random() < 0.5)
    blank = Site(
        seed=seed,
        regime=regime,
        fault=fault,
        grade=grade,
        scene=scene,
        heap=None,
        hfw_um=hfw_um,
        taken_hfw_um=hfw_um,
        defocus_um=0.0,
        astigmatism_um=0.0,
        dwell_time_ns=GOOD_DOSE_NS[0],
        frame_averages=GOOD_DOSE_NS[1],
        detector=detector,
        origin_um=(0.0, 0.0),
        reasons=frozenset(),
    )
    if grade is None or fault is Fault.NONE:
        return blank
    blur_um = BLUR_SHARE[grade] * typical_um / (GAUSSIAN_OF_DISC * CONVERGENCE_RAD)
    if fault is Fault.DEFOCUS:
        return replace(blank, defocus_um=sign * blur_um, reasons=frozenset({RescanReason.BLURRED}))
    if fault is Fault.ASTIGMATISM:
        # Both axes are off by half of the foci's distance where the focus lies in the middle, more where it does not.
        return replace(
            blank,
            astigmatism_um=2 * blur_um,
            defocus_um=share * 2 * blur_um,
            reasons=frozenset({RescanReason.BLURRED}),
        )
    if fault is Fault.SHORT_DWELL:
        return replace(
            blank,
            dwell_time_ns=DWELL_NS[grade],
            frame_averages=1,
            reasons=frozenset({RescanReason.NOISY}),
        )
    if fault is Fault.WRONG_HFW and large_field:
        return replace(
            blank,
            taken_hfw_um=typical_um * WIDTH_PX / TOO_LARGE_FIELD_PX[grade],
            reasons=frozenset({RescanReason.TOO_SMALL}),
        )
    if fault is Fault.WRONG_HFW:
        return replace(
            blank,
            taken_hfw_um=typical_um / TOO_SMALL_FIELD_SHARE[grade],
            origin_um=_at_a_particle(seed, scene, typical_um),
            reasons=frozenset({RescanReason.SIZE_NEAR_FIELD}),
        )
    if fault is Fault.CROWDING:
        heap = replace(scene, coverage=HEAP_COVERAGE[grade], piling=0.9)
        return replace(blank, heap=heap, reasons=frozenset({RescanReason.CROWDED, RescanReason.AGGLOMERATED}))
    charged = replace(
        scene,
        components=tuple(replace(c, material=insulator) for c in scene.components),
        look=replace(scene.look, charging=CHARGE[grade]),
    )
    return replace(blank, scene=charged, reasons=frozenset({RescanReason.CHARGED}))


def microscope_at(site: Site) -> VirtualMicroscope:
    """A virtual microscope that stands at the site as its operator left it, connected, without latencies."""
    microscope = VirtualMicroscope(
        seed=site.seed, holder=SiteHolder(site), latency=0.0, width_px=WIDTH_PX, height_px=HEIGHT_PX
    )
    microscope.connect(1.0)
    microscope.set_hfw(site.hfw_um)
    microscope.set_detector(site.detector)
    microscope.set_working_distance(NOMINAL_FOCUS_MM)
    # The amplifier was set before charge had built up.
    microscope.set_charge_reduction("high", 1.0)
    microscope.auto_contrast_brightness(1.0)
    microscope.set_charge_reduction("off", 1.0)
    microscope.set_hfw(site.taken_hfw_um)
    microscope.set_scan(site.dwell_time_ns, site.frame_averages)
    microscope.misalign(defocus_um=site.defocus_um, astigmatism_um=site.astigmatism_um)
    return microscope


def _at_a_particle(seed: int, scene: SceneParameters, typical_um: float) -> tuple[float, float]:
    """A place beside the centre of the particle of about the typical size that is nearest to the origin."""
    world = World(seed, scene)
    for reach_um in (10 * typical_um, 40 * typical_um):
        found = [
            (float(np.hypot(p.x_um, p.y_um)), p.x_um, p.y_um)
            for p in world.particles(-reach_um, -reach_um, reach_um, reach_um)
            if 0.8 * typical_um < 2 * p.radius_um < 1.25 * typical_um
        ]
        if found and min(found)[0] <= reach_um:
            break
    _, x_um, y_um = min(found)
    return x_um + 0.1 * typical_um, y_um - 0.1 * typical_um


def _scaled(scene: SceneParameters, factor: float) -> SceneParameters:
    return replace(scene, components=tuple(_scaled_component(c, factor) for c in scene.components))


def _scaled_component(component: Component, factor: float) -> Component:
    sizes = component.sizes
    if not isinstance(sizes, LogNormal):
        raise TypeError(f"{sizes}: the virtual microscope's powders are log-normal")
    return replace(component, sizes=LogNormal(sizes.median_um * factor, sizes.sigma_g))
