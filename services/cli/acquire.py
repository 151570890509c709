"""``labsem acquire``: a plan of frames of one sample, followed to its end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import Json
from services.cli.output import fail, note, print_json, show
from services.cli.progress import progress_bar
from services.cli.setup import daemon, settings

if TYPE_CHECKING:
    from labsem.client import Labsem
    from schemas.acts import Act
    from schemas.plans import Place, Plan

LOOK_EVERY_S = 0.5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("acquire")(acquire)


def acquire(
    sample: Annotated[str, typer.Argument(help="Sample id.")],
    hfw_um: Annotated[
        list[float], typer.Option(min=0.001, help="Field width; repeated: a ladder, taken at each place.")
    ],
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y",
            help="Place of the stage, mm; of a grid its centre. Repeatable. Default: the middle of the sample's slot.",
        ),
    ] = None,
    on_slot: Annotated[
        bool, typer.Option("--on-slot", help="Places count from the middle of the sample's slot.")
    ] = False,
    grid: Annotated[
        str | None, typer.Option(metavar="COLUMNSxROWS", help="Neighbouring fields about the place.")
    ] = None,
    overlap: Annotated[
        float, typer.Option(min=-10, max=0.99, help="Share of a field that its neighbour shows too.")
    ] = 0.0,
    height_over_width: Annotated[
        float, typer.Option(min=0.1, max=10, help="Of a frame, for the steps of a grid.")
    ] = 0.625,
    until_particles: Annotated[
        int | None, typer.Option(min=1, help="End when the sample has so many particles.")
    ] = None,
    until_d50_within: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="End when D50 is known so well, such as 5%."),
    ] = None,
    autofocus: Annotated[str, typer.Option(help="first, each_place or never.")] = "first",
    detector: Annotated[str | None, typer.Option(help="Default: as it stands.")] = None,
    dwell_time_ns: Annotated[float | None, typer.Option(min=1, help="Default: as it stands.")] = None,
    frame_averages: Annotated[int | None, typer.Option(min=1, max=255, help="Default: as it stands.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Default: the settings'.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Found again on every summary that follows. Repeatable.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Follow it to its end.")] = True,
    as_json: Json = False,
) -> None:
    """Have a plan's frames taken: a grid, or places by a ladder of field widths, to its end or until enough is known.

    Without --at the holder's map (labsem holder) says where the sample lies.

    Ctrl-C ends the following, not the acquisition: labsem rescans cancel ID does that.
    """
    from pydantic import ValidationError

    from schemas.plans import Plan

    try:
        plan = Plan(
            places=_places(at or ["0,0"], grid, hfw_um[0], height_over_width, overlap),
            hfw_um=tuple(hfw_um),
            on_slot=on_slot or not at,
            autofocus=autofocus,
            detector=detector,
            dwell_time_ns=dwell_time_ns,
            frame_averages=frame_averages,
            until_particles=until_particles,
            until_d50_within=None if until_d50_within is None else _share(until_d50_within),
        )
    except ValidationError as error:
        raise typer.BadParameter("; ".join(item["msg"] for item in error.errors())) from error
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with daemon() as lab:
        act = lab.request_acquisition(
            sample,
            instrument or settings().instrument.instrument_id,
            plan,
            labels=label or (),
            requested_by="person",
        )
        if wait:
            act = _followed(lab, act, plan)
    if as_json:
        print_json(act)
    else:
        detail = act.outcome.detail if act.outcome is not None else act.failure or ""
        show(
            f"{act.act_id}: {act.state.value}, {act.frames_done} of {act.frames_planned} frames"
            + (f"; {detail}" if detail else "")
        )
    if act.failure is not None:
        raise typer.Exit(1)


def _followed(lab: Labsem, act: Act, plan: Plan) -> Act:
    import time

    from labsem.client import ServiceUnavailableError
    from schemas.acts import OPEN_STATES

    try:
        with progress_bar(f"acquiring {act.sample_id}") as update:
            while act.state in OPEN_STATES:
                time.sleep(LOOK_EVERY_S)
                try:
                    acts = lab.history(act.sample_id, limit=1).acts
                except ServiceUnavailableError:
                    update(act.frames_done, plan.frames, "the daemon does not answer")
                    continue
                act = next(each for each in acts if each.act_id == act.act_id)
                update(act.frames_done, plan.frames, act.state.value)
    except KeyboardInterrupt:
        note(f"acquisition {act.act_id} goes on; labsem rescans cancel {act.act_id} ends it")
        raise
    return act


def _places(
    at: list[str], grid: str | None, hfw_um: float, height_over_width: float, overlap: float
) -> tuple[Place, ...]:
    from schemas.plans import Place
    from schemas.plans import grid as grid_of

    places = []
    for text in at:
        x, _, y = text.partition(",")
        try:
            places.append(Place(x_mm=float(x), y_mm=float(y)))
        except ValueError:
            fail(f"--at {text!r} is not X,Y in mm, such as 1.5,-0.25", code=2)
    if grid is None:
        return tuple(places)
    found = re.fullmatch(r"(\d+)[xX](\d+)", grid.strip())
    if found is None or len(places) != 1:
        fail("--grid needs COLUMNSxROWS, such as 12x24, and one --at, its centre", code=2)
    return grid_of(
        places[0],
        int(found[1]),
        int(found[2]),
        hfw_um,
        height_over_width=height_over_width,
        overlap=overlap,
    )


def _share(text: str) -> float:
    number = text.strip().removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"--until-d50-within {text!r} is no percentage, such as 5%") from None
    return value / 100 if text.strip().endswith("%") or value >= 1 else value
