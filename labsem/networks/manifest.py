"""Weights and the manifests beside them: what a model is, what it saw, and how it is to be used. No torch here."""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.morphology import ModelReference, Regime

if TYPE_CHECKING:
    from torch import Tensor


class WeightsError(RuntimeError):
    """Weights or a manifest that are missing, damaged or do not fit; the message names the file and the remedy."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Thresholds(_Part):
    """Combination of masks (Rettenberger et al. 2024; names as in the paper)."""

    omega: float = Field(default=0.5, ge=0, le=1, description="least objectness of a certain particle")
    psi: float = Field(default=0.5, ge=0, le=1, description="least objectness of an uncertain particle")
    overlap: float = Field(
        default=0.4, ge=0, le=1, description="Omega: the later of two masks over this IoU goes"
    )
    containment: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="a later mask with more of its area than this inside earlier ones goes",
    )
    op: float = Field(
        default=0.5, ge=0, le=1, description="an uncertain mask with more than this under a certain one"
    )
    sigma: float = Field(default=0.5, gt=0, lt=1, description="mask probability from which a pixel belongs")
    contrast: float = Field(
        default=-1,
        ge=-1,
        le=1,
        description="least grey value over the bare ground, in frames of bright particles",
    )
    ground_band: float = Field(
        default=0.25,
        ge=0,
        le=0.5,
        description="share of the clear particles' contrast under which a detection is a place of the ground",
    )
    nms: float = Field(default=0.5, gt=0, lt=1, description="IoU of boxes")
    detections_max: int = Field(default=1500, ge=1)

    @property
    def looks_at_ground(self) -> bool:
        """Whether detections are compared with the ground beside them."""
        return self.contrast > -1 or self.ground_band > 0


class Watershed(_Part):
    """How a U-Net's two distance maps are parted into particles (Scherr et al. 2020)."""

    cell: float = Field(default=0.1, ge=0, le=1, description="cell distance over which a pixel belongs")
    seed: float = Field(
        default=0.4, ge=0, le=1, description="cell less squared neighbour distance over which is a seed"
    )
    smoothing_px: float = Field(default=1.0, ge=0, description="of the cell distance, standard deviation")
    area_min_px: int = Field(default=16, ge=1, description="smaller particles go")
    contrast: float = Field(default=-1, ge=-1, le=1, description="as that of Thresholds")


class Platt(_Part):
    """``sigmoid(offset + sum_i slope_i x_i)``, strictly increasing in each input: slopes are positive."""

    slopes: tuple[float, ...]
    offset: float
    fitted_on: str = Field(description="which data, and how many particles")


class Input(_Part):
    """How a frame is brought before the network, and how often it is looked at."""

    long_side_max_px: int = Field(ge=64, description="larger frames are reduced to it")
    long_side_min_px: int = Field(ge=64, description="smaller frames are enlarged to it")
    tile_px: int = Field(
        default=1920,
        ge=256,
        description="side of the tiles in which a closer look is taken where it is larger",
    )
    tile_overlap_px: int = Field(
        default=256,
        ge=32,
        description="least overlap of tiles; what is larger in a closer look comes from the first one",
    )
    typical_side_px: float = Field(
        default=0.0,
        ge=0,
        description="size to which a second look enlarges a frame's typical particle; 0: one look",
    )
    typical_quantile: float = Field(
        default=0.5, gt=0, lt=1, description="quantile of a frame's sizes that is the typical particle's"
    )
    first_look: float = Field(
        default=0.5, gt=0, le=1, description="how much smaller the first of two looks is than a single one"
    )
    second_look_max: float = Field(default=2.0, ge=1, le=4, description="largest factor of the second look")
    refinements: int = Field(
        default=0, ge=0, le=3, description="how often the box head looks again at the boxes it found"
    )
    box_margin: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="share of its sides by which a box grows before its mask is drawn",
    )
    mirror: bool = Field(default=False, description="look at the mirrored frame too, and average")

    @model_validator(mode="after")
    def _tiles_overlap_by_less_than_half(self) -> Self:
        if 2 * self.tile_overlap_px > self.tile_px:
            raise ValueError("tile_overlap_px must be at most half of tile_px")
        return self


class OutOfDistribution(_Part):
    """Limit on :meth:`labsem.networks.novelty.Novelty.of`, whose components lie with the weights."""

    limit: float
    fitted_on: str


class Calibration(_Part):
    """What a regime has of its own beside the weights."""

    thresholds: Thresholds
    watershed: Watershed = Field(default=Watershed(), description="of a U-Net, instead of thresholds")
    confidence: Platt
    mask_quality: Platt
    input: Input
    detection_floor_px: float | None = Field(
        default=None, description="diameter of 50 % recall, px of the frame before any change of scale"
    )
    out_of_distribution: OutOfDistribution | None = None
    notes: str = ""


Objectness = Literal["box head foreground probability", "rpn", "highest cell distance"]
ConfidenceFrom = Literal["box features", "evidence"]


class Manifest(_Part):
    """Beside ``NAME.safetensors`` as ``NAME.json``."""

    name: str
    version: str
    created_at: datetime
    code_version: str
    regimes: dict[Regime, Calibration] = Field(
        min_length=1, description="the regimes that these weights serve"
    )
    architecture: dict[str, object]
    objectness: Objectness = "box head foreground probability"
    confidence_from: ConfidenceFrom = Field(
        default="box features",
        description="what the uncertainty head works on; evidence: see labsem.networks.evidence",
    )
    weights: str = Field(description="file name")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(gt=0)
    training: dict[str, object] = Field(description="data, options and simulator of each stage")
    metrics: dict[str, object] = Field(description="measured on which part, with which command")
    limits: tuple[str, ...] = ()
    licence: str

    def reference(self) -> ModelReference:
        """How messages name these weights."""
        return ModelReference(name=self.name, version=self.version, sha256=self.sha256)


@cache
def shipped_folder() -> Path:
    """Folder of the weights that come with the package."""
    with as_file(files("labsem.weights")) as folder:
        return Path(folder)


def list_manifests(folder: Path | None = None) -> list[Manifest]:
    """All manifests of a folder (default: the shipped ones), by name.

    Raises
    ------
    WeightsError
        Where there is none, or one cannot be read.
    """
    folder = folder or shipped_folder()
    found = sorted(folder.glob("*.json"))
    if not found:
        raise WeightsError(
            f"{folder} holds no model (NAME.json with NAME.safetensors); train one or install labsem again"
        )
    return [read_manifest(path) for path in found]


def read_manifest(path: Path) -> Manifest:
    """One manifest.

    Raises
    ------
    WeightsError
        Where it cannot be read.
    """
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WeightsError(
            f"{path} is not a usable manifest: {error}; install labsem again or train anew"
        ) from error


def verify(manifest: Manifest, folder: Path | None = None) -> Path:
    """Check a weight file against its manifest and return its path.

    Raises
    ------
    WeightsError
        Where the file is missing or its SHA-256 differs.
    """
    path = (folder or shipped_folder()) / manifest.weights
    if not path.is_file():
        raise WeightsError(f"{path} is missing; install labsem again")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != manifest.sha256:
        raise WeightsError(
            f"{path} is damaged or was changed: SHA-256 {found}, its manifest says {manifest.sha256}; "
            f"install labsem again"
        )
    return path


def load_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a weight file, as float32.

    Raises
    ------
    WeightsError
        Where the file is missing or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".pt":
        import torch

        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["average"]
        return state
    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as weights: {error}") from error
