"""Finding drivers: the built-in ones, and those that other packages offer as entry points."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final

from drivers.base import Microscope
from drivers.errors import MicroscopeError

GROUP: Final = "labsem.drivers"
BUILT_IN: Final = {
    "virtual": "drivers.virtual:VirtualMicroscope",
    "folder": "drivers.folder:FolderMicroscope",
    "phenom": "drivers.phenom:PhenomMicroscope",
}


class UnknownDriverError(MicroscopeError):
    """No driver of that name is installed."""


class BrokenDriverError(MicroscopeError):
    """A driver is there but cannot be loaded, or refuses its options."""


@dataclass(frozen=True)
class DriverEntry:
    """A driver that was found; ``problem`` says why it cannot be loaded."""

    name: str
    target: str
    problem: str | None


def available_drivers() -> dict[str, DriverEntry]:
    """All drivers by name, each loaded once to see whether it can be (nothing is constructed)."""
    found = {}
    for name, target in sorted(_targets().items()):
        try:
            _factory(name, target)
        except BrokenDriverError as error:
            found[name] = DriverEntry(name, target, error.detail)
        else:
            found[name] = DriverEntry(name, target, None)
    return found


def load_driver(name: str, options: Mapping[str, str | int | float | bool] | None = None) -> Microscope:
    """Construct a driver; nothing is connected.

    Parameters
    ----------
    options
        Keyword arguments of the driver (``instrument.options`` of the settings).

    Raises
    ------
    UnknownDriverError
        Naming the drivers that are there.
    BrokenDriverError
        Where its module cannot be imported or it refuses an option.
    """
    targets = _targets()
    if name not in targets:
        raise UnknownDriverError(
            name,
            "load driver",
            f"no driver of that name; there are {', '.join(sorted(targets))} (entry points {GROUP!r})",
        )
    factory = _factory(name, targets[name])
    try:
        return factory(**(options or {}))
    except (TypeError, ValueError) as error:
        raise BrokenDriverError(name, "load driver", f"options {dict(options or {})!r}: {error}") from error


def _targets() -> dict[str, str]:
    return BUILT_IN | {entry.name: entry.value for entry in entry_points(group=GROUP)}


def _factory(name: str, target: str) -> Callable[..., Microscope]:
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, OSError) as error:
        raise BrokenDriverError(name, "load driver", f"{target}: {error}") from error
    if not callable(found):
        raise BrokenDriverError(name, "load driver", f"{target} is no class or function")
    factory: Callable[..., Microscope] = found
    return factory
