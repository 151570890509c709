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


class SimulatedPowders(StrEnum):
    """What simulated frames show."""

    RANDOM = "random"
    STUB = "stub"


class ImageFormat(StrEnum):
    """File format of simulated images."""

    PNG = "png"
    TIFF = "tiff"


class Bits(StrEnum):
    """Bits of a pixel."""

    EIGHT = "8"
    SIXTEEN = "16"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)


def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the data set.")],
    frames: Annotated[int, typer.Option(min=1, help="How many.")] = 16,
    seed: Annotated[int, typer.Option(help="The same seed gives the same frames.")] = 0,
    regime: Annotated[SimulatedRegime, typer.Option(help="Magnification.")] = SimulatedRegime.BOTH,
    powders: Annotated[
        SimulatedPowders,
        typer.Option(help="stub: those of the virtual microscope, on carbon tape; random: anything."),
    ] = SimulatedPowders.RANDOM,
    width_px: Annotated[int, typer.Option(min=64, help="Width of a frame.")] = 1024,
    height_px: Annotated[int, typer.Option(min=64, help="Height of a frame.")] = 768,
    file_format: Annotated[
        ImageFormat, typer.Option("--format", help="tiff: as a Phenom writes it, with its acquisition.")
    ] = ImageFormat.PNG,
    bits: Annotated[Bits, typer.Option(help="Bits of a pixel.")] = Bits.EIGHT,
    databar: Annotated[bool, typer.Option("--databar", help="Add a data bar below (TIFF only).")] = False,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also a JPEG of the first twelve, side by side.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a labelled data set of simulated frames (images, masks, uncertain, metadata.csv, particles.csv)."""
    from labsem.simulation import SIMULATOR_VERSION, write_dataset
    from labsem.simulation.sheet import write_sheet

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
                file_format=file_format.value,
                bits=8 if bits is Bits.EIGHT else 16,
                databar=databar,
                powders=powders.value,
                progress=lambda done, total: update(done, total),
            )
            if sheet is not None:
                write_sheet(sheet, written)
    except (ValueError, OSError) as error:
        fail(str(error))
    if as_json:
        print_json(
            {
                "folder": str(out),
                "images": [str(path) for path in written],
                "simulator_version": SIMULATOR_VERSION,
            }
        )
    else:
        show(f"{len(written)} labelled frames in {out} (simulator version {SIMULATOR_VERSION})")
