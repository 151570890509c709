"""Labelled images on disk, in every layout that is read: :func:`read_dataset`.

Layouts
-------
labsem
    ``images/``, ``masks/``, optional ``uncertain/``, ``second/``, ``clear/``, ``holes/`` and ``metadata.csv``.
judging only
    Images in the folder itself, beside ``clear/`` and ``holes/``.
paper
    ``Samples/``, ``High_Confidence_Labels/``, ``Low_Confidence_Labels/`` (Rettenberger et al. 2024), alone or under
    ``Low_Magnification/`` and ``High_Magnification/``.
archive
    The paper's raw archives, ``Low_Mag_Source_Files/`` and ``High_Mag_Source_Files/``: ``NAME.png|tiff`` with
    ``NAME_label.tif`` under ``Confident-Labels`` and ``Less-Certain_Labels``; the two names are exchanged in the
    archive of high magnification.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labsem.frames import read_frame
from labsem.training.labels import DatasetError, image_size_px, read_labels

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_KNOWN_COLUMNS = ("id", "pixel_size_nm", "hfw_um", "nominal_magnification", "modality")
_ARCHIVES = {"low": "Low_Mag_Source_Files", "high": "High_Mag_Source_Files"}
_MAGNIFICATIONS = {"low": "Low_Magnification", "high": "High_Magnification"}

__all__ = ["DatasetError", "LabelledImage", "read_dataset"]


@dataclass(frozen=True)
class LabelledImage:
    """One image and the files that say what is in it; nothing is decoded before it is asked for.

    Attributes
    ----------
    id
        Name of the image in its data set, by which splits know it.
    mask_path
        Label image of the particles; None where there is only ``clear_path`` and ``holes_path``.
    uncertain_path
        Label image of the particles whose label is uncertain.
    judged
        Whether somebody judged certainty here; without it, nothing says that a particle is certain.
    uncertain_adds
        Whether ``uncertain_path`` holds particles that ``mask_path`` lacks (the paper's layouts), rather than some
        of the same.
    second_path
        Label image by another annotator.
    clear_path, holes_path
        Label images of particles that must be found and of places that are none.
    regime
        ``low`` or ``high`` where the layout or a column ``regime`` says it.
    extra
        Other columns of ``metadata.csv``.
    """

    id: str
    image_path: Path
    mask_path: Path | None
    uncertain_path: Path | None = None
    judged: bool = False
    uncertain_adds: bool = False
    second_path: Path | None = None
    clear_path: Path | None = None
    holes_path: Path | None = None
    pixel_size_nm: float | None = None
    hfw_um: float | None = None
    nominal_magnification: float | None = None
    modality: str | None = None
    regime: str | None = None
    extra: dict[str, str] = field(default_factory=dict)

    def pixels(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """(H, W) grey values; nothing is cropped, so that they fit the labels.

        Raises
        ------
        labsem.frames.FrameError
            Where the file cannot be read as a frame.
        """
        return read_frame(self.image_path, databar="none").pixels

    def labels(self) -> NDArray[np.int32]:
        """(H, W) label image of all particles, 0 background.

        Where certain and uncertain particles lie in two files, a shared pixel belongs to the certain one and the
        uncertain ones follow the last certain label.

        Raises
        ------
        DatasetError
            Where there is no mask, or its size or values do not fit.
        """
        certain = self._label_image(self.mask_path, "mask")
        if not self.uncertain_adds or self.uncertain_path is None:
            return certain
        uncertain = self._label_image(self.uncertain_path, "uncertain labels")
        return np.where((certain == 0) & (uncertain > 0), uncertain + certain.max(initial=0), certain)

    def uncertain_ids(self) -> frozenset[int] | None:
        """Values of :meth:`labels` whose label is uncertain; None where nobody judged.

        A particle is uncertain where over half of its pixels are labelled in ``uncertain_path``, whatever the
        values there.
        """
        if not self.judged:
            return None
        if self.uncertain_path is None:
            return frozenset()
        labels = self.labels()
        if self.uncertain_adds:
            last_certain = int(self._label_image(self.mask_path, "mask").max(initial=0))
            return frozenset(np.unique(labels[labels > last_certain]).tolist())
        marked = self._label_image(self.uncertain_path, "uncertain labels") > 0
        total = np.bincount(labels.ravel())
        inside = np.bincount(labels[marked], minlength=len(total))
        inside[0] = 0
        return frozenset(np.flatnonzero(2 * inside > total).tolist())

    def second_labels(self) -> NDArray[np.int32]:
        """(H, W) label image by the other annotator."""
        return self._label_image(self.second_path, "second labels")

    def clear_labels(self) -> NDArray[np.int32]:
        """(H, W) label image of the particles that must be found."""
        return self._label_image(self.clear_path, "clear particles")

    def hole_labels(self) -> NDArray[np.int32]:
        """(H, W) label image of the places that are no particles."""
        return self._label_image(self.holes_path, "holes")

    def _label_image(self, path: Path | None, what: str) -> NDArray[np.int32]:
        if path is None:
            raise DatasetError(self.image_path, f"has no {what}", "use only images that have one")
        labels = read_labels(path)
        _require_size(self.image_path, path, labels.shape)
        return labels


def read_dataset(folder: Path | str) -> list[LabelledImage]:
    """Find the labelled images of a folder, sorted by id, in any of the module's layouts.

    Raises
    ------
    DatasetError
        Where the folder is missing or empty or has no known layout, an image has no mask or a mask no image, sizes
        differ, or metadata cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DatasetError(root, "is no folder", "give the folder that holds images/ and masks/")
    images = sorted(_find(root), key=lambda image: image.id)
    if not images:
        raise DatasetError(
            root,
            "holds no labelled images",
            "lay it out as images/ and masks/, images beside clear/ and holes/, or as the paper does",
        )
    ids = [image.id for image in images]
    for previous, current in itertools.pairwise(ids):
        if previous == current:
            raise DatasetError(root, f"has two images of the name {current}", "rename one with its labels")
    for image in images:
        for path in (
            image.mask_path,
            image.uncertain_path,
            image.second_path,
            image.clear_path,
            image.holes_path,
        ):
            if path is not None:
                _require_size(image.image_path, path, image_size_px(path))
    return images


def _find(root: Path) -> Iterator[LabelledImage]:
    if (root / "images").is_dir():
        yield from _own_layout(root, root / "images", needs_masks=True)
    elif (root / "clear").is_dir() or (root / "holes").is_dir():
        yield from _own_layout(root, root, needs_masks=False)
    elif (root / "Samples").is_dir():
        name = root.name
        regime = next((key for key, value in _MAGNIFICATIONS.items() if value == name), None)
        yield from _paper_layout(root, regime, "")
    else:
        for regime in ("low", "high"):
            if (root / _MAGNIFICATIONS[regime] / "Samples").is_dir():
                yield from _paper_layout(root / _MAGNIFICATIONS[regime], regime, f"{regime}/")
            archive = root if root.name == _ARCHIVES[regime] else root / _ARCHIVES[regime]
            if archive.is_dir():
                yield from _archive_layout(archive, regime)


def _own_layout(root: Path, image_folder: Path, *, needs_masks: bool) -> Iterator[LabelledImage]:
    metadata = _read_metadata(root / "metadata.csv")
    judged = _judged_ids(root / "uncertain" / "README.csv")
    images = _by_stem(image_folder)
    sides = {name: _by_stem(root / name) for name in ("masks", "uncertain", "second", "clear", "holes")}
    for name, paths in sides.items():
        for stem, path in paths.items():
            if stem not in images:
                raise DatasetError(
                    path, f"has no image in {image_folder.name}/", f"add it, or remove it from {name}/"
                )
    for stem, image_path in images.items():
        if needs_masks and stem not in sides["masks"]:
            raise DatasetError(
                image_path, "has no mask", f"add masks/{stem}.png (an empty one for no particles)"
            )
        row = metadata.get(stem, {})
        yield LabelledImage(
            id=stem,
            image_path=image_path,
            mask_path=sides["masks"].get(stem),
            uncertain_path=sides["uncertain"].get(stem),
            judged=stem in sides["uncertain"] or stem in judged,
            second_path=sides["second"].get(stem),
            clear_path=sides["clear"].get(stem),
            holes_path=sides["holes"].get(stem),
            pixel_size_nm=_number(root, row, "pixel_size_nm"),
            hfw_um=_number(root, row, "hfw_um"),
            nominal_magnification=_number(root, row, "nominal_magnification"),
            modality=row.get("modality") or None,
            regime=_regime(root, row),
            extra={key: value for key, value in row.items() if key not in (*_KNOWN_COLUMNS, "regime")},
        )


def _paper_layout(root: Path, regime: str | None, prefix: str) -> Iterator[LabelledImage]:
    certain, uncertain = _by_stem(root / "High_Confidence_Labels"), _by_stem(root / "Low_Confidence_Labels")
    for stem, image_path in _by_stem(root / "Samples").items():
        if stem not in certain:
            raise DatasetError(image_path, "has no mask", f"add High_Confidence_Labels/{stem}.tif")
        yield LabelledImage(
            id=prefix + stem,
            image_path=image_path,
            mask_path=certain[stem],
            uncertain_path=uncertain.get(stem),
            judged=stem in uncertain,
            uncertain_adds=True,
            regime=regime,
        )


def _archive_layout(root: Path, regime: str) -> Iterator[LabelledImage]:
    confident, less_certain = root / "Confident-Labels", root / "Less-Certain_Labels"
    if regime == "high":  # exchanged in that archive, by its authors' own word
        confident, less_certain = less_certain, confident
    for image_path in sorted(confident.rglob("*")):
        if image_path.suffix.lower() not in IMAGE_SUFFIXES or image_path.stem.endswith("_label"):
            continue
        relative = image_path.relative_to(confident)
        label = relative.with_name(f"{image_path.stem}_label.tif")
        if not (confident / label).is_file():
            raise DatasetError(image_path, "has no mask", f"add {label.name} beside it")
        uncertain = less_certain / label
        yield LabelledImage(
            id=f"{regime}/{relative.with_suffix('').as_posix()}",
            image_path=image_path,
            mask_path=confident / label,
            uncertain_path=uncertain if uncertain.is_file() else None,
            judged=uncertain.is_file(),
            uncertain_adds=True,
            regime=regime,
        )


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if path.stem in found:
                raise DatasetError(
                    path, f"has the same name as {found[path.stem].name}", "keep one of the two"
                )
            found[path.stem] = path
    return found


def _read_metadata(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines, restval=""))
    if rows and "id" not in rows[0]:
        raise DatasetError(path, "has no column id", "name the column of the images' names id")
    return {row["id"]: row for row in rows}


def _judged_ids(path: Path) -> frozenset[str]:
    return frozenset(_read_metadata(path))


def _number(root: Path, row: dict[str, str], column: str) -> float | None:
    text = (row.get(column) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (np.isfinite(value) and value > 0):
        raise DatasetError(
            root / "metadata.csv",
            f"says {column} = {text!r} for {row['id']}",
            "give a positive number, or leave it empty where it is not known",
        )
    return value


def _regime(root: Path, row: dict[str, str]) -> str | None:
    text = (row.get("regime") or "").strip().lower()
    if text in ("low", "high"):
        return text
    if text in ("", "joint"):
        return None
    raise DatasetError(
        root / "metadata.csv", f"says regime = {text!r} for {row['id']}", "write low, high or nothing"
    )


def _require_size(image_path: Path, label_path: Path, label_size: tuple[int, ...]) -> None:
    size = image_size_px(image_path)
    if label_size != size:
        raise DatasetError(
            label_path,
            f"is {' x '.join(map(str, label_size))} pixels (rows x columns), its image {image_path.name} "
            f"{size[0]} x {size[1]}",
            "make the label image one grey layer of the image's size",
        )
