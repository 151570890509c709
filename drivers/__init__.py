"""Microscopes behind one protocol, :class:`drivers.base.Microscope`; nothing connects at import.

>>> from drivers import load_driver
>>> load_driver("virtual", {"seed": 7}).name
'virtual (simulated)'
"""

from drivers.base import (
    AcquiredFrame,
    BusyError,
    DisconnectedError,
    Microscope,
    MicroscopeError,
    MicroscopeState,
    MicroscopeTimeoutError,
    NotConnectedError,
    OutOfRangeError,
    StoppedError,
    Target,
    UnsupportedError,
    VacuumError,
)
from drivers.discovery import (
    BrokenDriverError,
    DriverEntry,
    UnknownDriverError,
    available_drivers,
    load_driver,
)

__all__ = [
    "AcquiredFrame",
    "BrokenDriverError",
    "BusyError",
    "DisconnectedError",
    "DriverEntry",
    "Microscope",
    "MicroscopeError",
    "MicroscopeState",
    "MicroscopeTimeoutError",
    "NotConnectedError",
    "OutOfRangeError",
    "StoppedError",
    "Target",
    "UnknownDriverError",
    "UnsupportedError",
    "VacuumError",
    "available_drivers",
    "load_driver",
]
