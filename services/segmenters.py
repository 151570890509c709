"""Segmenters by name: the shipped network, Otsu's threshold, and those of the entry point ``labsem.segmenters``.

An entry point names a factory, called as ``factory(folder, precision=…, threads=…)`` with the settings' model
folder, precision and threads, that returns a :class:`Segmenter`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from labsem.segmentation import Segmentation
from schemas.morphology import ModelReference, Regime
from schemas.settings import ModelSettings

GROUP = "labsem.segmenters"
DEFAULT = "network"
BUILT_IN = {
    "network": "labsem.networks.segmenter:Segmenter.load",
    "otsu": "services.segmenters:OtsuSegmenter.load",
}


class SegmenterError(RuntimeError):
    """A segmenter that is unknown or does not load; the message says why and what to do."""


class Segmenter(Protocol):
    """What segments a frame."""

    def segment(self, pixels: NDArray[Any], regime: Regime) -> Segmentation:
        """Particles of a frame (H, W)."""

    def model(self, regime: Regime) -> ModelReference:
        """What stands behind the numbers of a regime."""

    def detection_floor_px(self, regime: Regime) -> float | None:
        """Diameter under which particles are likely to be missed."""


@dataclass(frozen=True)
class SegmenterEntry:
    """A name, what it stands for, and why that does not load (none: it does)."""

    name: str
    target: str
    problem: str | None


class OtsuSegmenter:
    """Otsu's threshold and a watershed: needs no weights and has no opinion on certainty."""

    @classmethod
    def load(
        cls,
        folder: Path | None = None,  # noqa: ARG003 - the signature of all factories
        *,
        precision: str = "auto",  # noqa: ARG003
        threads: int | None = None,  # noqa: ARG003
    ) -> OtsuSegmenter:
        """A segmenter; nothing is read."""
        return cls()

    def segment(self, pixels: NDArray[Any], regime: Regime) -> Segmentation:
        """Particles of a frame (H, W)."""
        from labsem.evaluation.baseline import otsu_watershed

        return otsu_watershed(pixels, regime)

    def model(self, regime: Regime) -> ModelReference:  # noqa: ARG002
        """No weights: a digest of zeros."""
        return ModelReference(name="otsu-watershed", version="1", sha256="0" * 64)

    def detection_floor_px(self, regime: Regime) -> float | None:  # noqa: ARG002
        """Not known."""
        return None


def targets() -> dict[str, str]:
    """Name -> ``module:factory`` of all segmenters; a lab's entry point cannot take a built-in name."""
    found = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    return found | BUILT_IN


def available_segmenters() -> dict[str, SegmenterEntry]:
    """All segmenters, each factory imported to see whether it is there; no weights are read."""
    found = {}
    for name, target in sorted(targets().items()):
        try:
            _factory(target)
            problem = None
        except SegmenterError as error:
            problem = str(error)
        found[name] = SegmenterEntry(name, target, problem)
    return found


def load_segmenter(name: str = DEFAULT, models: ModelSettings | None = None) -> Segmenter:
    """The segmenter of a name, or of ``module:factory``, ready to segment.

    Raises
    ------
    SegmenterError
        Where the name is unknown or its module cannot be imported.
    """
    models = models or ModelSettings()
    return cast(
        Segmenter, _factory(resolve(name))(models.folder, precision=models.precision, threads=models.threads)
    )


def resolve(name: str) -> str:
    """``module:factory`` of a segmenter.

    Raises
    ------
    SegmenterError
        Where the name is unknown.
    """
    target = name if ":" in name else targets().get(name)
    if target is None:
        raise SegmenterError(f"no segmenter is called {name!r}; there are {', '.join(sorted(targets()))}")
    return target


def _factory(target: str) -> Callable[..., Any]:
    module, _, path = target.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except ImportError as error:
        remedy = (
            "install labsem[analysis]"
            if target == BUILT_IN[DEFAULT]
            else "install what it needs, or name another"
        )
        raise SegmenterError(f"segmenter {target} cannot be imported ({error}); {remedy}") from error
    except AttributeError as error:
        raise SegmenterError(
            f"segmenter {target}: {error}; name it as module:factory, as in {BUILT_IN[DEFAULT]}"
        ) from error
    return cast("Callable[..., Any]", found)
