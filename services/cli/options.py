"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from string import hexdigits
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from schemas.morphology import Regime

ID_DIGITS = 32
"""Hexadecimal digits of a UUID."""

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


def _beginning_of_id(text: str) -> str:
    digits = text.replace("-", "")
    if not 0 < len(digits) <= ID_DIGITS or not set(digits) <= set(hexdigits):
        raise typer.BadParameter(f"{text!r} is no id; give it, or its first digits, as the tables show it")
    return text


FrameId = Annotated[
    str, typer.Argument(metavar="FRAME", parser=_beginning_of_id, help="Frame id, or how it begins.")
]
RescanId = Annotated[
    str, typer.Argument(metavar="RESCAN", parser=_beginning_of_id, help="Rescan id, or how it begins.")
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder", help="Folder of weights and manifests; default: the settings', else the shipped ones."
    ),
]
