"""What ``labsem demo`` shows: a live table on stderr while it runs, the summary on stdout at its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from services.cli.output import cell, note, print_json, short, show, stderr, stdout
from services.cli.records import improvement, percent

if TYPE_CHECKING:
    from types import TracebackType

    from schemas.acts import ActChanged
    from schemas.morphology import FrameMorphology
    from services.demo import DemoReport, DemoState

STATE_STYLES = {"resolved": "green", "failed": "red", "expired": "red", "denied": "red", "cancelled": "red"}


class DemoView:
    """A live table of frames and rescans; without a terminal, or with ``live`` off, a line for each frame."""

    def __init__(self, *, live: bool) -> None:
        self._console = stderr()
        self._live = (
            Live(console=self._console, refresh_per_second=8) if live and self._console.is_terminal else None
        )
        self._spinner = Spinner("dots")
        self._began = time.monotonic()
        self._frames = 0
        self._stage = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, state: DemoState) -> None:
        """Show the state."""
        if self._live is not None:
            self._live.update(self._render(state))
            return
        if state.stage != self._stage:
            self._stage = state.stage
            note(f"demo: {state.stage}" + (f" in {state.folder}" if state.stage == "starting" else ""))
        for frame in state.frames[self._frames :]:
            note(" ".join(str(value) for value in _cells(frame, plain=True)))
        self._frames = len(state.frames)

    def finish(self, report: DemoReport, *, as_json: bool) -> None:
        """Print the summary, or the document, and how to look at the results again."""
        if as_json:
            print_json(report)
        else:
            console = stdout()
            if self._live is None:
                console.print(_frames_table(_row(frame) for frame in report.frames))
            resolved = sum(rescan.state == "resolved" for rescan in report.rescans)
            show(
                f"{report.frames_analysed} frames analysed, {report.frames_lost} lost, "
                f"rescans: {len(report.rescans)} ({resolved} resolved), {time.monotonic() - self._began:.0f} s"
            )
            for rescan in report.rescans:
                before, after = (
                    percent(rescan.uncertain_fraction_before),
                    percent(rescan.uncertain_fraction_after),
                )
                show(
                    f"  rescan {short(rescan.act_id)} ({', '.join(rescan.reasons)}): {rescan.state}, "
                    f"uncertain {cell(before)} before, {cell(after)} after"
                )
        for sample in sorted({frame.sample_id for frame in report.frames}):
            (note if as_json else show)(f'labsem --data-dir "{report.data_dir}" history {sample}')

    def _render(self, state: DemoState) -> Group:
        parts: list[Any] = [_frames_table(_cells(frame) for frame in state.frames)]
        if state.rescans:
            parts.append(_rescans_table(list(state.rescans.values())))
        planned = sum(frame.act_id is None for frame in state.frames)
        elapsed = f"{time.monotonic() - self._began:.0f} s"
        text = {
            "starting": "starting virtual SEM, analysis daemon and planner",
            "running": f"{planned} of {state.planned} planned frames, {len(state.rescans)} rescans",
        }.get(state.stage, "ended")
        if state.stage == "ended":
            parts.append(Text(f"ended after {elapsed}"))
        else:
            self._spinner.update(text=f"{text}, {elapsed}")
            parts.append(self._spinner)
        return Group(*parts)


def _frames_table(rows: Any) -> Table:
    result = Table(title="labsem demo", title_justify="left", header_style="bold")
    for name, right in (
        ("frame", False),
        ("sample", False),
        ("regime", False),
        ("particles", True),
        ("D50 µm", True),
        ("uncertain", True),
        ("decision", False),
        ("s", True),
    ):
        result.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        result.add_row(*row)
    return result


def _cells(frame: FrameMorphology, *, plain: bool = False) -> list[str]:
    reasons = ", ".join(reason.value for reason in frame.decision.reasons)
    decision = escape(f"{frame.decision.kind}: {reasons}" if reasons else frame.decision.kind)
    if frame.decision.kind == "none":
        decision = "answers a rescan" if frame.act_id is not None else "good"
    style = "" if plain else {"rescan": "yellow", "advised": "yellow"}.get(frame.decision.kind, "green")
    return [
        short(frame.frame_id),
        escape(frame.sample_id),
        frame.regime.value,
        cell(frame.particle_count),
        cell(frame.d50_number_all_um),
        cell(percent(frame.uncertain_fraction.value)),
        f"[{style}]{decision}[/]" if style else decision,
        f"{sum(frame.seconds.values()):.1f}",
    ]


def _row(frame: Any) -> list[str]:
    return [
        short(frame.frame_id),
        escape(frame.sample_id),
        frame.regime,
        cell(frame.particle_count),
        cell(frame.d50_number_all_um),
        cell(percent(frame.uncertain_fraction)),
        frame.decision,
        f"{sum(frame.seconds.values()):.1f}",
    ]


def _rescans_table(changes: list[ActChanged]) -> Table:
    result = Table(title="rescans", title_justify="left", header_style="bold")
    for name in ("rescan", "sample", "reasons", "state", "outcome"):
        result.add_column(name, no_wrap=True)
    for change in changes:
        outcome = change.outcome
        style = STATE_STYLES.get(change.state.value, "yellow")
        found = escape(change.failure or "-")
        if outcome is not None:
            before, after = (
                percent(outcome.uncertain_fraction_before),
                percent(outcome.uncertain_fraction_after),
            )
            found = f"{improvement(outcome.improved)}: uncertain {cell(before)} → {cell(after)}"
        result.add_row(
            short(change.act_id),
            escape(change.sample_id),
            ", ".join(reason.value for reason in change.reasons),
            f"[{style}]{change.state.value}[/]",
            found,
        )
    return result
