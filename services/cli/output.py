"""What the commands print, and how they end: 0 done, 1 failed, 2 misuse."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table

FAILED = 1
MISUSE = 2

_OWN_ERRORS = (
    ("schemas.settings", "SettingsError"),
    ("schemas.registry", "UnsupportedSchemaError"),
    ("labsem.frames", "FrameError"),
    ("labsem.store", "StoreError"),
    ("labsem.streams", "StreamError"),
    ("labsem.client", "WaitTimeoutError"),
    ("labsem.networks.manifest", "WeightsError"),
    ("labsem.training.labels", "DatasetError"),
    ("labsem.training.splits", "SplitError"),
    ("drivers", "MicroscopeError"),
    ("services.daemon", "DaemonError"),
    ("services.segmenters", "SegmenterError"),
    ("services.analyze", "AnalyzeError"),
    ("services.demo", "DemoError"),
)


def known_errors() -> tuple[type[Exception], ...]:
    """Labsem's own errors, whose message is all that a user needs; of modules that are not loaded none was raised."""
    found = [
        getattr(sys.modules[module], name, None) for module, name in _OWN_ERRORS if module in sys.modules
    ]
    return tuple(error for error in found if error is not None)


def stdout() -> Console:
    """Console for results. Where stdout is no terminal, lines are not folded, so that ``grep`` finds them."""
    return _console(stderr=False)


def stderr() -> Console:
    """Console for progress, notes and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=200, soft_wrap=True)
    return console


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End with one line on stderr."""
    stderr().print(f"[bold red]error:[/] {_escaped(message)}")
    raise SystemExit(code)


def note(message: str) -> None:
    """One line on stderr."""
    stderr().print(_escaped(message))


def show(message: str) -> None:
    """One line on stdout, as it is."""
    stdout().print(_escaped(message))


def print_json(value: BaseModel | Sequence[Any] | dict[str, Any]) -> None:
    """The JSON document on stdout and nothing else."""
    sys.stdout.write(json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """The value in JSON's own types: models as they dump, NaN as null, paths, ids and times as strings."""
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def table(
    title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]], *, right: Iterable[str] = ()
) -> Table:
    """A table whose cells are :func:`cell` of the values."""
    from rich.table import Table

    result = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        numeric = column in right
        result.add_column(column, justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows:
        result.add_row(*(_escaped(cell(value)) for value in row))
    return result


def cell(value: Any, digits: int = 3) -> str:
    """A value as a table shows it: ``-`` for nothing, three significant digits for a number."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value) or "-"
    return str(getattr(value, "value", value))


def local_time(value: Any) -> str:
    """A time to the second in this host's zone."""
    return "-" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short(identifier: Any) -> str:
    """The first group of a UUID."""
    return "-" if identifier is None else str(identifier)[:8]


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
