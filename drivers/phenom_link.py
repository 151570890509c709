"""The connection to a Phenom: the vendor's library, its modes, and calls with a limit of time."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from drivers.base import BasicMicroscope, MicroscopeStatus, Mode
from drivers.credentials import read_credentials
from drivers.errors import (
    BusyError,
    LicenceError,
    MicroscopeError,
    MicroscopeTimeoutError,
    NotConnectedError,
    NotReadyError,
    TransferError,
)
from drivers.vendor import Answer, VendorThread

log = structlog.get_logger(__name__)

MODULE: Final = "PyPhenom"
CREDENTIALS: Final = "LABSEM_PHENOM"
SEM_TRIES: Final = 10
NAVIGATION_PX: Final = 912
"""Edge of the navigation camera's picture."""

COMMAND_TIMEOUT_S: Final = 30.0
"""Of commands that take no limit: settings and readings."""


class PhenomLink(BasicMicroscope):
    """Connection and modes of a Phenom; :class:`drivers.phenom.PhenomMicroscope` is the driver.

    Parameters
    ----------
    phenom_id, credentials_file, poll_s
        As of the driver.
    """

    def __init__(self, *, phenom_id: str, credentials_file: str, poll_s: float) -> None:
        self._id, self._file, self._poll_s = phenom_id, credentials_file, poll_s
        self._ppi: Any = None
        self._phenom: Any = None
        self._vendor: VendorThread | None = None

    @property
    def name(self) -> str:
        """With the instrument's id, where one was given."""
        return f"phenom {self._id}".strip()

    def connect(self, timeout_s: float) -> None:
        """Import the vendor's library and open the instrument."""
        if self._phenom is not None:
            return
        try:
            ppi = importlib.import_module(MODULE)
        except ImportError as error:
            raise LicenceError(
                self.name, "connect", f"{MODULE} is not installed here; install the vendor's package"
            ) from error
        credentials = read_credentials(self.name, CREDENTIALS, self._file)
        arguments: tuple[str, ...] = (self._id, "", "") if self._id else ()
        if credentials is not None:
            arguments = (self._id, credentials.user, credentials.password)
        vendor = VendorThread(self.name, _errors_of(ppi))
        try:
            self._phenom = vendor.run("connect", lambda: ppi.Phenom(*arguments), timeout_s)
        except MicroscopeError:
            vendor.close()
            raise
        self._ppi, self._vendor = ppi, vendor

    def close(self) -> None:
        """Let go of it as it stands."""
        if self._vendor is not None:
            self._vendor.close()
        self._phenom = self._vendor = None

    def status(self) -> MicroscopeStatus:
        """Health, in any mode."""
        mode = self._mode("status")
        blanked = None
        if mode is Mode.SEM:
            blanked = _is_blanked(self._call("status", self._device("status").SemGetBlankBeamState))
        detail = "" if mode is Mode.SEM else f"it is in {mode.value}; activate it"
        return MicroscopeStatus(mode=mode, ready=mode is Mode.SEM, beam_blanked=blanked, detail=detail)

    def activate(self, timeout_s: float) -> None:
        """Wake it, load the sample, move under the column, and wait until settings can be read."""
        deadline_s = time.monotonic() + timeout_s
        phenom = self._device("activate")
        if self._mode("activate") is Mode.SEM:
            return
        if self._mode("activate") in (Mode.OFF, Mode.STANDBY):
            self._call("activate", phenom.Activate, timeout_s)
        if self._mode("activate") is Mode.UNLOADED:
            self._call("activate", phenom.Load, timeout_s)
        self._move_to_sem(deadline_s)
        self._until(deadline_s, "activate", self._readable)

    def standby(self, timeout_s: float) -> None:
        """Let the source rest."""
        self._call("standby", self._device("standby").Standby, timeout_s)

    def load(self, timeout_s: float) -> None:
        """Bring the sample under the navigation camera."""
        self._call("load", self._device("load").Load, timeout_s)

    def unload(self, timeout_s: float) -> None:
        """Bring the sample to the door."""
        self._call("unload", self._device("unload").Unload, timeout_s)

    def overview(self, timeout_s: float) -> NDArray[np.uint8]:
        """Picture of the holder; the sample then lies under the navigation camera."""
        deadline_s = time.monotonic() + timeout_s
        phenom, ppi = self._device("overview"), self._ppi
        mode = self._mode("overview")
        if mode in (Mode.OFF, Mode.STANDBY, Mode.UNLOADED):
            raise NotReadyError(self.name, "overview", f"it is in {mode.value}; load the sample first")
        if mode is not Mode.NAVIGATION:
            self._call("overview", phenom.MoveToNavCam, timeout_s)
        # A mode is reported before it is ready.
        self._until(deadline_s, "overview", lambda: self._mode("overview") is Mode.NAVIGATION)
        parameters = ppi.CamParams()
        parameters.size = ppi.Size(NAVIGATION_PX, NAVIGATION_PX)
        parameters.nFrames = 1
        left_s = max(deadline_s - time.monotonic(), 0.0)
        taken = self._call("overview", lambda: phenom.NavCamAcquireImage(parameters), left_s)
        return _colours(self.name, np.asarray(taken.image))

    def stop(self) -> None:
        """End the waiting for the running command, and blank the beam as soon as the vendor's call has ended."""
        phenom, vendor = self._phenom, self._vendor
        if vendor is not None:
            vendor.stop(phenom.SemBlankBeam)

    def _device(self, command: str) -> Any:
        if self._phenom is None:
            raise NotConnectedError(self.name, command, "not connected; call connect first")
        return self._phenom

    def _call(self, command: str, call: Callable[[], Answer], timeout_s: float = COMMAND_TIMEOUT_S) -> Answer:
        if self._vendor is None:
            raise NotConnectedError(self.name, command, "not connected; call connect first")
        return self._vendor.run(command, call, timeout_s)

    def _in_sem(self, command: str) -> Any:
        """The vendor's object, where settings can be read and set."""
        mode = self._mode(command)
        if mode is not Mode.SEM:
            raise NotReadyError(self.name, command, f"it is in {mode.value}; activate it first")
        return self._phenom

    def _with_beam(self, command: str, call: Callable[[], Answer], timeout_s: float) -> Answer:
        """Unblank, call, and blank, whatever comes of it."""
        phenom = self._in_sem(command)

        def unblanked() -> Answer:
            phenom.SemUnblankBeam()
            try:
                return call()
            finally:
                phenom.SemBlankBeam()

        return self._call(command, unblanked, timeout_s)

    def _mode(self, command: str) -> Mode:
        phenom = self._device(command)
        instrument, operational = self._call(
            command, lambda: (_name(phenom.GetInstrumentMode()), _name(phenom.GetOperationalMode()))
        )
        if "off" in instrument:
            return Mode.OFF
        if "standby" in instrument:
            return Mode.STANDBY
        if "load" in operational:
            return Mode.UNLOADED
        return Mode.SEM if "sem" in operational else Mode.NAVIGATION

    def _move_to_sem(self, deadline_s: float) -> None:
        """Move under the column; while the instrument is busy that fails, and is tried again."""
        phenom = self._device("activate")
        for attempt in range(1, SEM_TRIES + 1):
            left_s = deadline_s - time.monotonic()
            try:
                self._call("activate", phenom.MoveToSem, max(left_s, 0.0))
                return
            except BusyError as error:
                if attempt == SEM_TRIES or left_s <= self._poll_s:
                    raise
                log.info("move_to_sem_again", attempt=attempt, error=str(error))
                time.sleep(self._poll_s)

    def _readable(self) -> bool:
        """Whether the mode that is reported is ready: its settings can be read."""
        if self._mode("activate") is not Mode.SEM:
            return False
        try:
            self._call("activate", self._device("activate").GetHFW)
        except MicroscopeError as error:
            if isinstance(error, MicroscopeTimeoutError):
                raise
            return False
        return True

    def _until(self, deadline_s: float, command: str, met: Callable[[], bool]) -> None:
        while not met():
            if time.monotonic() + self._poll_s > deadline_s:
                raise MicroscopeTimeoutError(
                    self.name, command, "it is not ready in time; read its status anew"
                )
            time.sleep(self._poll_s)


def _errors_of(ppi: Any) -> tuple[type[Exception], ...]:
    """What the vendor's calls raise: its own error and what its bindings turn others into."""
    own = getattr(ppi, "Error", RuntimeError)
    return (own, RuntimeError, ValueError, IndexError, OSError)


def _name(value: Any) -> str:
    """An enumerator's name in small letters."""
    return str(getattr(value, "name", value)).rpartition(".")[2].lower()


def _is_blanked(state: Any) -> bool:
    if isinstance(state, bool):
        return state
    return "blank" in _name(state) and "unblank" not in _name(state)


def _colours(device: str, image: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W, 3) of what the vendor hands over: three channels, records of three, or grey."""
    if image.dtype.names is not None:
        image = np.stack([image[name] for name in image.dtype.names[:3]], axis=-1)
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] < 3 or image.dtype != np.uint8:
        raise TransferError(device, "overview", f"{image.dtype} {image.shape} came for a picture in colour")
    return np.ascontiguousarray(image[:, :, :3])
