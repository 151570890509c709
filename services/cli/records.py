"""``labsem history``, ``samples`` and ``frames``: what the database holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import FrameId, Json, Limit, Offset
from services.cli.output import local_time, print_json, short, show, stdout, table
from services.cli.setup import database, opened_store

if TYPE_CHECKING:
    from schemas.acts import Act
    from schemas.morphology import FrameMorphology, SampleMorphology

frames = typer.Typer(no_args_is_help=True, help="Frames that were analysed, and those that were not.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("history")(history)
    app.command("samples")(samples)
    app.add_typer(frames, name="frames")


def history(
    sample: Annotated[str, typer.Argument(metavar="SAMPLE", help="Sample id.")],
    limit: Limit = 200,
    offset: Offset = 0,
    as_json: Json = False,
) -> None:
    """Show a sample's frames, sizes and rescans, in order of acquisition."""
    from labsem.store import queries

    with database() as session:
        answer = queries.history(session, sample, limit=limit, offset=offset)
    if as_json:
        print_json(answer)
        return
    columns = (
        "acquired",
        "frame",
        "regime",
        "HFW um",
        "particles",
        "uncertain",
        "D50 um",
        "flags",
        "decision",
    )
    rows = []
    for item in answer.frames:
        found = item.morphology
        decision = (
            found.decision.kind
            if item.superseded_by is None
            else f"superseded by {short(item.superseded_by)}"
        )
        rows.append(
            (
                local_time(found.acquired_at),
                short(found.frame_id),
                found.regime,
                found.acquisition.hfw_um,
                found.particle_count,
                percent(found.uncertain_fraction.value),
                found.d50_number_all_um,
                [flag.value for flag in found.flags],
                decision,
            )
        )
    console = stdout()
    console.print(table(f"Frames of {sample}", columns, rows, right=columns[3:7]))
    if answer.acts:
        console.print(acts_table(answer.acts))
    _show_sample(answer.sample)
    shown = f"{len(answer.frames)} of {answer.frames_total} frames"
    show(f"{shown}; {answer.rejected} rejected" + (" (labsem frames rejected)" if answer.rejected else ""))


def samples(limit: Limit = 100, offset: Offset = 0, as_json: Json = False) -> None:
    """List samples, newest first."""
    from labsem.store import queries

    with database() as session:
        answer = queries.samples(session, limit=limit, offset=offset)
    if as_json:
        print_json(answer)
        return
    columns = ("sample", "name", "state", "frames", "waiting", "open rescans", "last frame")
    rows = [
        (
            row.sample_id,
            row.sample_name,
            row.state,
            row.frames,
            row.frames_pending,
            row.acts_open,
            local_time(row.last_frame_at),
        )
        for row in answer.samples
    ]
    stdout().print(table(f"{len(rows)} of {answer.total} samples", columns, rows, right=columns[3:6]))


@frames.command("list")
def frames_list(
    sample: Annotated[str | None, typer.Option(help="Only of this sample.")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
    as_json: Json = False,
) -> None:
    """List analysed frames, newest first."""
    from labsem.store import queries

    with database() as session:
        found = queries.frames(session, sample_id=sample, limit=limit, offset=offset)
    if as_json:
        print_json(list(found))
        return
    columns = ("frame", "sample", "regime", "HFW um", "particles", "uncertain", "D50 um", "decision")
    rows = [
        (
            row.frame_id,
            row.sample_id,
            row.regime,
            row.hfw_um,
            row.particle_count,
            percent(row.uncertain_fraction),
            row.d50_number_all_um,
            row.decision if row.superseded_by is None else f"superseded by {short(row.superseded_by)}",
        )
        for row in found
    ]
    stdout().print(table("Frames", columns, rows, right=columns[3:7]))


@frames.command("show")
def frames_show(
    frame: FrameId,
    as_json: Json = False,
) -> None:
    """Show all that is known of one frame."""
    from labsem.store import queries
    from labsem.store.identify import identify

    with database() as session:
        answer = queries.frame(session, identify(session, "frame", frame))
    if as_json:
        print_json(answer)
        return
    lines = {
        "file": f"{answer.image_root}: {answer.path}",
        "sha256": answer.sha256,
        "superseded by": answer.superseded_by,
        **_lines(answer.morphology),
    }
    stdout().print(table(f"Frame {answer.morphology.frame_id}", ("", ""), lines.items()))


@frames.command("rejected")
def frames_rejected(
    everything: Annotated[
        bool, typer.Option("--all", help="Those that were retried or dealt with, too.")
    ] = False,
    limit: Limit = 100,
    offset: Offset = 0,
    as_json: Json = False,
) -> None:
    """List messages and frames that could not be analysed, with reason and remedy."""
    from labsem.store import queries

    with database() as session:
        found = queries.rejected(session, include_closed=everything, limit=limit, offset=offset)
    if as_json:
        print_json(list(found))
        return
    columns = ("no.", "at", "source", "what", "reason", "remedy", "retry")
    rows = [
        (
            row.rejected_id,
            local_time(row.at),
            row.source,
            row.path or row.sample_id or "message",
            f"{row.code}: {row.message}",
            row.remedy,
            row.retryable,
        )
        for row in found
    ]
    stdout().print(table("Rejected", columns, rows, right=columns[:1]))


@frames.command("retry")
def frames_retry(
    number: Annotated[
        int | None, typer.Argument(metavar="[NUMBER]", help="Number of the rejected item.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that can be retried.")] = False,
    as_json: Json = False,
) -> None:
    """Put rejected items back; the running daemon takes them up, or the next one."""
    from labsem.store import rejected

    if (number is None) is not everything:
        raise typer.BadParameter("give the number of one item, or --all")
    with opened_store() as store, store.write() as session:
        count = rejected.retry(session, number)
    if as_json:
        print_json({"retried": count})
    else:
        show(f"{count} put back")


def acts_table(acts: tuple[Act, ...], *, full_id: bool = False) -> Any:
    """Rescans, one line each."""
    columns = (
        "rescan",
        "state",
        "reasons",
        "frame before",
        "frame after",
        "uncertain before",
        "after",
        "outcome",
    )
    rows = []
    for act in acts:
        outcome = act.outcome
        rows.append(
            (
                act.act_id if full_id else short(act.act_id),
                act.state,
                [reason.value for reason in act.reasons],
                short(act.frame_before),
                short(act.frame_after),
                percent(outcome.uncertain_fraction_before) if outcome else None,
                percent(outcome.uncertain_fraction_after) if outcome else None,
                act.failure if outcome is None else improvement(outcome.improved),
            )
        )
    return table("Rescans", columns, rows, right=columns[5:7])


def improvement(improved: bool | None) -> str:
    """An outcome in words."""
    return {True: "improved", False: "not improved", None: "not comparable"}[improved]


def percent(value: float | None) -> str | None:
    """A fraction in per cent."""
    return None if value is None else f"{value:.0%}"


def _show_sample(sample: SampleMorphology) -> None:
    columns = (
        "HFW um",
        "frames",
        "particles",
        "uncertain",
        "D10 um",
        "D50 um",
        "D90 um",
        "D50 interval 95 %",
        "flags",
    )
    rows = []
    for block in sample.blocks:
        sizes = block.sizes.number.all
        interval = sizes.d50_interval_95_um
        rows.append(
            (
                block.hfw_um,
                block.frames,
                block.particle_count,
                percent(block.uncertain_fraction.value),
                sizes.d10_um,
                sizes.d50_um,
                sizes.d90_um,
                None if interval is None else f"{interval[0]:.3g} to {interval[1]:.3g}",
                [flag.value for flag in block.flags],
            )
        )
    if rows:
        title = f"Sample {sample.sample_id}: {sample.state.value} (number-weighted, all particles)"
        stdout().print(table(title, columns, rows, right=columns[:8]))


def _lines(found: FrameMorphology) -> dict[str, Any]:
    sizes = found.sizes.number
    return {
        "sample": found.sample_id,
        "instrument": found.instrument_id,
        "acquired": local_time(found.acquired_at),
        "analysed": local_time(found.analysed_at),
        "regime, model": f"{found.regime.value}, {found.model.name} {found.model.version}",
        "field width um": found.acquisition.hfw_um,
        "pixel size nm": found.acquisition.pixel_size_nm,
        "particles": f"{found.particle_count} ({found.certain_count} certain, {found.uncertain_count} uncertain, "
        f"{found.cut_by_edge_count} cut by the edge)",
        "uncertain fraction": percent(found.uncertain_fraction.value),
        "D50 by number, all, um": sizes.all.d50_um,
        "D50 by number, certain, um": sizes.certain.d50_um,
        "focus": found.focus,
        "signal to noise": found.signal_to_noise,
        "flags": [flag.value for flag in found.flags],
        "decision": f"{found.decision.kind} {found.decision.detail}".strip(),
        "seconds": ", ".join(f"{stage} {value:.2f}" for stage, value in found.seconds.items()),
    }
