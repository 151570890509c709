"""A frame's detections reduced to what a search of thresholds asks of them thousands of times.

Pixels that the same masks cover and the same labelled particle fills are one atom. Combining masks, and comparing the
result with the labels, then needs the atoms' areas alone: under a millisecond where pixels take a tenth of a second.
The rule of combination is :mod:`labsem.networks.combination`'s own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from labsem.evaluation.overlap import Overlaps
from labsem.networks.combination import is_redundant
from labsem.networks.detector import Detections
from labsem.networks.manifest import Thresholds
from labsem.networks.polarity import Shades, ground_shades, is_ground
from labsem.training.sampling import TrainingImage

SIGMAS = (0.4, 0.45, 0.5, 0.55, 0.6)
"""Mask probabilities from which a pixel may belong; a frame has atoms for each."""


@dataclass(frozen=True)
class Atoms:
    """Atoms of the masks at one ``sigma``.

    Attributes
    ----------
    area_px
        (A,).
    truth
        (A,) value of the labelled particle, 0 ground.
    members
        For each detection the atoms that its mask covers.
    """

    area_px: NDArray[np.int64]
    truth: NDArray[np.int64]
    members: tuple[NDArray[np.int64], ...]

    @cached_property
    def mask_areas_px(self) -> list[int]:
        """Pixels of each detection's mask."""
        return [int(self.area_px[members].sum()) for members in self.members]


@dataclass(frozen=True)
class ScoredFrame:
    """A validation image with its detections, ready to be combined under any thresholds.

    Attributes
    ----------
    shades
        Of each of the N detections and the bare ground beside it, among all detections.
    """

    image: TrainingImage
    detections: Detections
    atoms: dict[float, Atoms]
    shades: Shades
    truth_ids: NDArray[np.int64] = field(repr=False)
    truth_area_px: NDArray[np.int64] = field(repr=False)

    def combine(self, certain: NDArray[np.bool_], thresholds: Thresholds, *, exact: bool = False) -> Kept:
        """What is left of the detections.

        Parameters
        ----------
        certain
            (N,) whether each detection is one of a certain particle.
        thresholds
            ``sigma`` is one of ``SIGMAS``.
        exact
            Measure the shades of what is kept as inference does; else each detection's among all detections are
            taken, which costs nothing.
        """
        atoms = self.atoms[thresholds.sigma]
        kept = _combine(atoms, self.detections.objectness, certain, thresholds)
        if thresholds.looks_at_ground and kept:
            index = np.array(kept)
            shades = self.shades.take(index)
            if exact:
                shades = _measure_shades(self.detections, index, thresholds.sigma)
                _forget_cells(self.detections)
            objectness = self.detections.objectness[index]
            ground = is_ground(shades, objectness, thresholds.contrast, thresholds.ground_band)
            kept = index[~ground].tolist()
        # A shared pixel belongs to the certain, then the higher-objectness particle.
        kept = sorted(kept, key=lambda each: not certain[each])
        owner = np.zeros(len(atoms.area_px), np.int64)
        for place in range(len(kept) - 1, -1, -1):
            owner[atoms.members[kept[place]]] = place + 1
        return Kept(np.array(kept, np.int64), self._compare(atoms, owner, len(kept)))

    def _compare(self, atoms: Atoms, owner: NDArray[np.int64], count: int) -> Overlaps:
        area = np.bincount(owner, weights=atoms.area_px, minlength=count + 1).astype(np.int64)
        seen = np.flatnonzero(area[1:]) + 1
        dense = np.zeros(count + 1, np.int64)
        dense[seen] = np.arange(len(seen))
        both = (owner > 0) & (atoms.truth > 0)
        truth = np.searchsorted(self.truth_ids, atoms.truth[both])
        columns = max(len(seen), 1)
        codes = truth * columns + dense[owner[both]]
        shared = np.bincount(codes, weights=atoms.area_px[both])
        pairs = np.flatnonzero(shared)
        return Overlaps(
            self.truth_ids,
            seen,
            self.truth_area_px,
            area[seen],
            pairs // columns,
            pairs % columns,
            shared[pairs].astype(np.int64),
        )


@dataclass(frozen=True)
class Kept:
    """Kept detections in order of precedence, and their overlaps: ``predicted_ids`` are places in ``index`` plus 1."""

    index: NDArray[np.int64]
    overlaps: Overlaps


def score_frame(
    image: TrainingImage, detections: Detections, sigmas: Sequence[float] = SIGMAS
) -> ScoredFrame:
    """Reduce the detections of a validation image to atoms."""
    counts = np.bincount(image.labels.ravel())
    counts[0] = 0
    truth_ids = np.flatnonzero(counts)
    atoms = {sigma: _find_atoms(detections, image.labels, sigma) for sigma in sigmas}
    everything = np.arange(len(detections.boxes))
    shades = _measure_shades(detections, everything, 0.5)
    _forget_cells(detections)
    return ScoredFrame(image, detections, atoms, shades, truth_ids, counts[truth_ids])


def _find_atoms(detections: Detections, labels: NDArray[np.int32], sigma: float) -> Atoms:
    masks = [(probabilities >= sigma, box) for probabilities, box in detections.cells]
    keys = np.random.default_rng(0).integers(1, 2**63, len(masks), dtype=np.uint64)
    codes = np.zeros(labels.shape, np.uint64)
    for (mask, (y0, x0, y1, x1)), key in zip(masks, keys, strict=True):
        codes[y0:y1, x0:x1][mask] += key
    covered = codes > 0
    particles = labels[covered].astype(np.uint64)
    # Sums of random 64-bit keys tell sets of masks apart; a particle's value moves them by an odd multiplier.
    mixed = codes[covered] + particles * np.uint64(0x9E3779B97F4A7C15)
    _, first, which, area = np.unique(mixed, return_index=True, return_inverse=True, return_counts=True)
    index = np.zeros(labels.shape, np.int64)
    index[covered] = which
    members = tuple(np.unique(index[y0:y1, x0:x1][mask]) for mask, (y0, x0, y1, x1) in masks)
    return Atoms(area.astype(np.int64), particles[first].astype(np.int64), members)


def _forget_cells(detections: Detections) -> None:
    """Resampled masks are the largest part of a frame in memory; they can be had again."""
    detections.__dict__.pop("cells", None)


def _combine(
    atoms: Atoms, objectness: NDArray[np.float64], certain: NDArray[np.bool_], thresholds: Thresholds
) -> list[int]:
    least = np.where(certain, thresholds.omega, thresholds.psi)
    order = [int(i) for i in np.argsort(-objectness, kind="stable") if objectness[i] >= least[i]]
    claimed = np.zeros(len(atoms.area_px), np.int64)
    kept: list[int] = []
    areas: list[int] = []
    for candidate in order:
        members, area = atoms.members[candidate], atoms.mask_areas_px[candidate]
        if area == 0:
            continue
        under = claimed[members]
        if under.any():
            counts = np.bincount(under, weights=atoms.area_px[members])
            counts[0] = 0
            owners = np.flatnonzero(counts)
            shared = counts[owners].astype(np.int64)
            if is_redundant(
                owners.astype(np.int32), shared, area, areas, kept, certain, candidate, thresholds
            ):
                continue
        kept.append(candidate)
        areas.append(area)
        claimed[members[under == 0]] = len(kept)
    return kept


def _measure_shades(detections: Detections, index: NDArray[np.int64], sigma: float) -> Shades:
    cells = [detections.cells[place] for place in index]
    boxes = np.array([box for _, box in cells], np.int32).reshape(-1, 4)
    return ground_shades(detections.grey, boxes, [probabilities >= sigma for probabilities, _ in cells])
