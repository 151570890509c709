"""Whether a model on disk is what was published: ``labsem models verify``. No torch here."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

from labsem.networks.manifest import Manifest, WeightsError, read_manifest, verify

SEAL_KEY = "labsem.manifest"
"""Under this name the weight file's metadata holds the seal of its manifest."""

_HEADER_MAX_BYTES = 100_000_000
_OUTSIDE_SEAL = {"created_at", "sha256", "size_bytes", "metrics", "limits"}


def seal(manifest: Manifest) -> str:
    """SHA-256 of what a manifest says of its weights and their use.

    Measured figures, limits and notes may be added later and are left out, as are fields at their default, so that a
    later version's new fields change nothing.
    """
    said = manifest.model_dump(mode="json", exclude=_OUTSIDE_SEAL, exclude_defaults=True)
    for calibration in said["regimes"].values():
        calibration.pop("notes", None)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def find_problems(path: Path) -> list[str]:
    """What is wrong with a model: its manifest ``NAME.json`` and the weights beside it; empty where nothing is."""
    try:
        manifest = read_manifest(path)
    except WeightsError as error:
        return [str(error)]
    problems = []
    if manifest.name != path.stem:
        problems.append(
            f"{path} says that its name is {manifest.name}; its file was renamed or the name changed"
        )
    if Path(manifest.weights).name != manifest.weights:
        return [*problems, f"{path} names weights in another folder, {manifest.weights}; it was changed"]
    weights = path.parent / manifest.weights
    if weights.is_file() and weights.stat().st_size != manifest.size_bytes:
        problems.append(
            f"{weights} has {weights.stat().st_size} bytes, its manifest says {manifest.size_bytes}; "
            "install labsem again"
        )
    try:
        verify(manifest, path.parent)
        header = read_header(weights)
    except WeightsError as error:
        return [*problems, str(error)]
    return [*problems, *_against_header(path, manifest, header)]


def read_header(weights: Path) -> dict[str, Any]:
    """Names, types and shapes of the tensors of a safetensors file, and ``__metadata__``.

    Raises
    ------
    WeightsError
        Where it is no safetensors file.
    """
    with weights.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _HEADER_MAX_BYTES
        text = file.read(length) if length < _HEADER_MAX_BYTES else b""
    try:
        header = json.loads(text)
    except ValueError as error:
        raise WeightsError(f"{weights} is no safetensors file; install labsem again") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{weights} is no safetensors file; install labsem again")
    return header


def _against_header(path: Path, manifest: Manifest, header: dict[str, Any]) -> list[str]:
    problems = []
    sealed = header.get("__metadata__", {}).get(SEAL_KEY)
    if sealed is not None and sealed != seal(manifest):
        problems.append(
            f"{path} was changed after its weights were written (regimes, thresholds, calibrations, training data, "
            "architecture, version or licence); install labsem again"
        )
    judges = [regime for regime, one in manifest.regimes.items() if one.out_of_distribution is not None]
    if judges and not any(name.startswith("ood.") for name in header):
        problems.append(
            f"{path} limits what is out of distribution, but {manifest.weights} holds nothing to tell it by"
        )
    return problems


def count_numbers(weights: Path) -> int | None:
    """How many numbers the network's tensors hold; None where the file is missing or no safetensors file."""
    if not weights.is_file():
        return None
    try:
        header = read_header(weights)
    except WeightsError:
        return None
    tensors = {name: one for name, one in header.items() if not name.startswith(("__", "ood."))}
    return sum(int(math.prod(one["shape"])) for one in tensors.values())
