"""The fixed splits of the labelled data sets: made once, never changed, ids only.

``emps.json`` was made by :func:`make_emps_split`, ``powders.json`` by :func:`make_powders_split`; the files, not the
functions, are the record. No weights that are shipped, started from or compared ever see a ``test`` part.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

EMPS_SEED = 2024
EMPS_NEAR_DUPLICATES = ("50a4901372", "74ef917e76")
EMPS_FRACTIONS = (0.65, 0.15, 0.20)
HIGH_HFW_UM = 50.0
POWDERS_TEST = frozenset({"Rec-Cu-Ni", "S03", "S05"})
POWDERS_VALIDATION = frozenset({"S01", "RHA"})
PARTS = ("train", "validation", "test")
SPLIT_NAMES = ("emps", "powders")


class SplitError(ValueError):
    """A split or a part of one that does not exist, or does not belong to the data at hand."""


@dataclass(frozen=True)
class Split:
    """Ids of the images in each part, sorted; no id is in two parts."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.train) + len(self.validation) + len(self.test):
            raise SplitError("an id is twice in the split; each image belongs to exactly one part")

    @property
    def ids(self) -> frozenset[str]:
        """All ids of the three parts."""
        return frozenset(self.train) | frozenset(self.validation) | frozenset(self.test)

    def part(self, name: str) -> tuple[str, ...]:
        """Ids of ``train``, ``validation`` or ``test``.

        Raises
        ------
        SplitError
            Where there is no part of that name.
        """
        if name not in PARTS:
            raise SplitError(f"part {name!r} is none of {', '.join(PARTS)}")
        ids: tuple[str, ...] = getattr(self, name)
        return ids


def load_split(name: str) -> Split:
    """Read a committed split: ``emps`` or ``powders``.

    Raises
    ------
    SplitError
        Where there is no split of that name.
    """
    if name not in SPLIT_NAMES:
        raise SplitError(f"split {name!r} is none of {', '.join(SPLIT_NAMES)}")
    parts = json.loads((files(__name__) / f"{name}.json").read_text("utf-8"))
    return Split(**{part: tuple(parts[part]) for part in PARTS})


def split_of(ids: Iterable[str]) -> tuple[str, Split]:
    """Name and content of the split that these images come from: the one that lists every id.

    Raises
    ------
    SplitError
        Where no split lists them all, or there are none.
    """
    wanted = frozenset(ids)
    missing: dict[str, list[str]] = {}
    for name in SPLIT_NAMES:
        split = load_split(name)
        if wanted and wanted <= split.ids:
            return name, split
        missing[name] = sorted(wanted - split.ids)
    known = "; ".join(f"{name} lacks {len(lacking)} of them" for name, lacking in missing.items())
    raise SplitError(
        f"no split lists these {len(wanted)} images ({known}); leave the part out to use all of the images, "
        f"or give a folder with the published file names"
    )


def make_emps_split(rows: Iterable[Mapping[str, str]], seed: int = EMPS_SEED) -> Split:
    """Split EMPS 65/15/20 by image, stratified by modality and scale.

    Strata are walked in order of their name, the images of each in order of a seeded hash of their id (the same on
    every platform and version), and each goes to the part that lacks most of its share, so that every stratum and
    the whole keep the proportions within an image. Near-duplicates go together.

    Parameters
    ----------
    rows
        Rows of ``metadata.csv``: ``id``, ``modality``, ``hfw_um``.
    seed
        Part of what is hashed.
    """
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        strata[row["modality"], _scale_class(row["hfw_um"])].append(row["id"])
    first, second = EMPS_NEAR_DUPLICATES
    present = {image_id for ids in strata.values() for image_id in ids}
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    assigned = 0
    for stratum in sorted(strata):
        for image_id in sorted(strata[stratum], key=lambda value: _hash(seed, value)):
            if image_id == second and first in present:
                continue
            group = [image_id, second] if image_id == first and second in present else [image_id]
            assigned += len(group)
            lacking = [
                share * assigned - len(parts[part]) for part, share in zip(PARTS, EMPS_FRACTIONS, strict=True)
            ]
            parts[PARTS[lacking.index(max(lacking))]] += group
    return Split(**{part: tuple(sorted(ids)) for part, ids in parts.items()})


def make_powders_split(rows: Iterable[Mapping[str, str]]) -> Split:
    """Split the powder frames by powder, so that the test part asks for powders never seen.

    Parameters
    ----------
    rows
        Rows of ``metadata.csv``: ``id``, ``powder``.
    """
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for row in rows:
        powder = row["powder"]
        part = "test" if powder in POWDERS_TEST else "validation" if powder in POWDERS_VALIDATION else "train"
        parts[part].append(row["id"])
    return Split(**{part: tuple(sorted(ids)) for part, ids in parts.items()})


def _scale_class(hfw_um: str) -> str:
    if not hfw_um:
        return "none"
    return "high" if float(hfw_um) < HIGH_HFW_UM else "low"


def _hash(seed: int, image_id: str) -> str:
    return hashlib.sha256(f"{seed}:{image_id}".encode()).hexdigest()
