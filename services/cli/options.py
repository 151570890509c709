"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from schemas.morphology import Regime

Json = Annotated[
    bool, typer.Option("--json", help="Print a JSON document on stdout, and nothing else there.")
]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")]
Offset = Annotated[int, typer.Option(min=0, help="After so many.")]


class RegimeChoice(StrEnum):
    """Which network; ``auto`` routes each frame by its magnification."""

    AUTO = "auto"
    LOW = "low"
    HIGH = "high"
    JOINT = "joint"

    def regime(self) -> Regime | None:
        """None for ``auto``."""
        from schemas.morphology import Regime

        return None if self is RegimeChoice.AUTO else Regime(self.value)


class Part(StrEnum):
    """Part of a data set with a split."""

    ALL = "all"
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder", help="Folder of weights and manifests; default: the settings', else the shipped ones."
    ),
]
