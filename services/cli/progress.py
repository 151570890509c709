"""A progress bar for long commands."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.cli.output import cell, stderr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[..., None]]:
    """A bar on stderr; call what it gives with done, total and a note."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=stderr(),
    ) as bar:
        task = bar.add_task(what, total=None, note="")

        def update(done: float, total: float, text: str = "") -> None:
            bar.update(task, completed=done, total=total, note=cell(text) if text else "")

        yield update
