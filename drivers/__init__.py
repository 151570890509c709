"""Microscopes behind one protocol, :class:`drivers.base.Microscope`; nothing connects at import.

>>> from drivers import load_driver
>>> load_driver("virtual", {"seed": 7}).name
'virtual (simulated)'
"""

from drivers.base import (
    AcquiredFrame,
    BasicMicroscope,
    FoundFrame,
    FrameSource,
    Microscope,
    MicroscopeState,
    MicroscopeStatus,
    Mode,
)
from drivers.discovery import (
    BrokenDriverError,
    DriverEntry,
    UnknownDriverError,
    available_drivers,
    load_driver,
)
from drivers.errors import (
    BusyError,
    DisconnectedError,
    FocusError,
    LicenceError,
    MicroscopeError,
    MicroscopeTimeoutError,
    NotConnectedError,
    NotReadyError,
    OutOfRangeError,
    StageError,
    StoppedError,
    TransferError,
    UnsupportedError,
    VacuumError,
)
from drivers.targets import Target

__all__ = [
    "AcquiredFrame",
    "BasicMicroscope",
    "BrokenDriverError",
    "BusyError",
    "DisconnectedError",
    "DriverEntry",
    "FocusError",
    "FoundFrame",
    "FrameSource",
    "LicenceError",
    "Microscope",
    "MicroscopeError",
    "MicroscopeState",
    "MicroscopeStatus",
    "MicroscopeTimeoutError",
    "Mode",
    "NotConnectedError",
    "NotReadyError",
    "OutOfRangeError",
    "StageError",
    "StoppedError",
    "Target",
    "TransferError",
    "UnknownDriverError",
    "UnsupportedError",
    "VacuumError",
    "available_drivers",
    "load_driver",
]
