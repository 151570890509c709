"""``labsem rescans``: read from the database; what changes one is asked of the running daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import typer

from services.cli.options import FrameId, Json, Limit, Offset, RescanId
from services.cli.output import local_time, print_json, show, stdout, table
from services.cli.records import acts_table, improvement, percent
from services.cli.setup import daemon, database

if TYPE_CHECKING:
    from schemas.acts import Act

rescans = typer.Typer(
    no_args_is_help=True, help="Rescans: what was asked of the instruments, and what came of it."
)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(rescans, name="rescans")


@rescans.command("list")
def list_(
    sample: Annotated[str | None, typer.Option(help="Only of this sample.")] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Only those that still expect something.")] = False,
    limit: Limit = 100,
    offset: Offset = 0,
    as_json: Json = False,
) -> None:
    """List rescans in the order in which they were asked for."""
    from labsem.store import queries
    from schemas.acts import OPEN_STATES

    with database() as session:
        acts = queries.acts(
            session, sample_id=sample, states=OPEN_STATES if is_open else (), limit=limit, offset=offset
        )
    if as_json:
        print_json(list(acts))
    else:
        stdout().print(acts_table(acts, full_id=True))


@rescans.command("show")
def show_(act: RescanId, as_json: Json = False) -> None:
    """Show one rescan."""
    from labsem.store import acts
    from labsem.store.identify import identify
    from schemas.acts import OPEN_STATES

    with database() as session:
        found = acts.get(session, identify(session, "rescan", act))
    if as_json:
        print_json(found)
        return
    outcome = found.outcome
    lines = {
        "sample": found.sample_id,
        "instrument": found.instrument_id,
        "state": f"{found.state.value} (revision {found.revision})",
        "reasons": [reason.value for reason in found.reasons],
        "asked by": found.requested_by,
        "created": local_time(found.created_at),
        "ended": None if found.ended_at is None else local_time(found.ended_at),
        "expires": local_time(found.expires_at) if found.state in OPEN_STATES else None,
        "frame before": found.frame_before,
        "frame after": found.frame_after,
        "parameters": ", ".join(
            f"{name} = {value}"
            for name, value in found.parameters.model_dump().items()
            if value not in (None, False)
        ),
        "failure": found.failure,
        "outcome": None if outcome is None else improvement(outcome.improved),
        "uncertain before, after": None
        if outcome is None
        else (percent(outcome.uncertain_fraction_before), percent(outcome.uncertain_fraction_after)),
        "sample's D50 interval over D50, before, after": None
        if outcome is None or outcome.d50_interval_ratio_after is None
        else (percent(outcome.d50_interval_ratio_before), percent(outcome.d50_interval_ratio_after)),
        "detail": None if outcome is None else outcome.detail,
    }
    stdout().print(table(f"Rescan {found.act_id}", ("", ""), lines.items()))


@rescans.command("request")
def request(
    frame: FrameId,
    autofocus: Annotated[bool, typer.Option("--autofocus", help="Focus first.")] = False,
    dwell_time_ns: Annotated[float | None, typer.Option(help="Dwell time.")] = None,
    frame_averages: Annotated[int | None, typer.Option(min=1, max=255, help="Frames to average.")] = None,
    hfw_um: Annotated[float | None, typer.Option(help="Field width.")] = None,
    position_x_mm: Annotated[float | None, typer.Option(help="Stage position.")] = None,
    position_y_mm: Annotated[float | None, typer.Option(help="Stage position.")] = None,
    detector: Annotated[str | None, typer.Option(help="Detector.")] = None,
    autostigmation: Annotated[
        bool, typer.Option("--autostigmation", help="Correct astigmatism after focusing.")
    ] = False,
    accelerating_voltage_kv: Annotated[float | None, typer.Option(help="Accelerating voltage.")] = None,
    charge_reduction: Annotated[
        str | None, typer.Option(help="Level of gas against charging, as the instrument names it.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="Found again on the new frame's summary.")] = None,
    as_json: Json = False,
) -> None:
    """Ask for a rescan of a frame's place; what is not given stays as that frame had it."""
    from pydantic import ValidationError

    from schemas.acts import RescanParameters

    try:
        parameters = RescanParameters(
            autofocus=autofocus,
            dwell_time_ns=dwell_time_ns,
            frame_averages=frame_averages,
            hfw_um=hfw_um,
            position_x_mm=position_x_mm,
            position_y_mm=position_y_mm,
            detector=detector,
            autostigmation=autostigmation,
            accelerating_voltage_kv=accelerating_voltage_kv,
            charge_reduction=charge_reduction,
        )
    except ValidationError as error:
        raise typer.BadParameter(
            "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        ) from error
    whole = _whole("frame", frame)
    with daemon() as lab:
        _print(
            lab.request_rescan(whole, parameters, labels=tuple(label or ()), requested_by="person"), as_json
        )


@rescans.command("approve")
def approve(act: RescanId, as_json: Json = False) -> None:
    """Approve a requested rescan."""
    whole = _whole("rescan", act)
    with daemon() as lab:
        _print(lab.approve(whole), as_json)


@rescans.command("deny")
def deny(
    act: RescanId, reason: Annotated[str, typer.Option(help="Kept with it.")] = "", as_json: Json = False
) -> None:
    """Deny a requested rescan."""
    whole = _whole("rescan", act)
    with daemon() as lab:
        _print(lab.deny(whole, reason), as_json)


@rescans.command("cancel")
def cancel(
    act: RescanId, reason: Annotated[str, typer.Option(help="Kept with it.")] = "", as_json: Json = False
) -> None:
    """Cancel a rescan that is not yet running."""
    whole = _whole("rescan", act)
    with daemon() as lab:
        _print(lab.cancel(whole, reason), as_json)


def _whole(kind: Literal["frame", "rescan"], given: str) -> UUID:
    """The id that begins so; a whole one is the daemon's to know, and needs no database here."""
    from labsem.store.identify import identify

    try:
        return UUID(given)
    except ValueError:
        with database() as session:
            return identify(session, kind, given)


def _print(act: Act, as_json: bool) -> None:
    if as_json:
        print_json(act)
    else:
        show(f"rescan {act.act_id}: {act.state.value}")
