"""``labsem simulate``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import Json
from services.cli.output import fail, print_json, show
from services.cli.progress import progress_bar
from services.cli.setup import quiet_logging


class SimulatedRegime(StrEnum):
    """Magnification of simulated frames."""

    LOW = "low"
    HIGH = "high"
    BOTH = "both"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)


def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the data set.")],
    frames: Annotated[int, typer.Option(min=1, help="How many.")] = 16,
    seed: Annotated[int, typer.Option(help="The same seed gives the same frames.")] = 0,
    regime: Annotated[SimulatedRegime, typer.Option(help="Magnification.")] = SimulatedRegime.BOTH,
    width_px: Annotated[int, typer.Option(min=64, help="Width of a frame.")] = 1024,
    height_px: Annotated[int, typer.Option(min=64, help="Height of a frame.")] = 768,
    as_json: Json = False,
) -> None:
    """Write a labelled data set of simulated frames (images, masks, uncertain, metadata.csv)."""
    from labsem.simulation import write_dataset

    quiet_logging()
    try:
        with progress_bar("simulating") as update:
            written = write_dataset(
                out,
                frames,
                seed,
                regime.value,
                width_px,
                height_px,
                progress=lambda done, total: update(done, total),
            )
    except (ValueError, OSError) as error:
        fail(str(error))
    if as_json:
        print_json({"folder": str(out), "images": [str(path) for path in written]})
    else:
        show(f"{len(written)} labelled frames in {out}")
