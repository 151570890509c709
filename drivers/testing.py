"""What every driver must keep to, as tests that a lab runs on its own (docs/drivers.md).

Derive from :class:`MicroscopeConformance`, say how to make a driver, and let pytest collect the class::

    class TestMine(MicroscopeConformance):
        def make(self):
            return MyMicroscope("localhost")

What an instrument cannot do must be refused as such, so no check is left out. Checks move the stage by a few
micrometres, change settings within the capabilities and put everything back: on a real instrument run them with a
sample that may be looked at.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any, Final

import numpy as np

from drivers.base import AcquiredFrame, Microscope, MicroscopeState, MicroscopeStatus
from drivers.errors import (
    MicroscopeError,
    NotConnectedError,
    OutOfRangeError,
    StoppedError,
    UnsupportedError,
)
from drivers.targets import Target, go_to, restore
from drivers.testing_cases import CHOICES, another, commands, offers, out_of_range, settings
from schemas.acts import Capabilities

STEP_MM: Final = 0.005
"""How far the stage is moved."""

RELATIVE: Final = 0.01
"""Within which a setting is reached."""

PLACE_MM: Final = 0.02
"""Within which a place is reached."""


class MicroscopeConformance(ABC):
    """The checks; see the module.

    Attributes
    ----------
    timeout_s
        Given to each command that waits.
    """

    timeout_s: float = 120.0

    @abstractmethod
    def make(self) -> Microscope:
        """A new driver, not connected."""

    @contextmanager
    def connected(self) -> Iterator[Microscope]:
        """A driver that is connected and, where it can act, ready and put back afterwards."""
        microscope = self.make()
        microscope.connect(self.timeout_s)
        try:
            if not microscope.capabilities().can_act:
                yield microscope
                return
            microscope.activate(self.timeout_s)
            before = microscope.state()
            try:
                yield microscope
            finally:
                microscope.connect(self.timeout_s)
                microscope.activate(self.timeout_s)
                restore(microscope, before, self.timeout_s)
        finally:
            microscope.close()

    def test_it_has_a_name_and_every_method(self) -> None:
        """``isinstance`` of the protocol, which looks for every method by its name."""
        microscope = self.make()
        assert isinstance(microscope, Microscope)
        assert microscope.name.strip()

    def test_its_capabilities_hold_together(self) -> None:
        """Ranges have a lower and a higher end; what cannot act says in words what it cannot do."""
        with self.connected() as microscope:
            able = microscope.capabilities()
        assert able.can_act or able.cannot
        for name in _RANGES:
            bounds = getattr(able, name)
            assert bounds is None or bounds[0] <= bounds[1], name
        assert (able.hfw_min_um or 0) <= (able.hfw_max_um or np.inf)
        assert (able.stage_x_range_mm is None) == (able.stage_y_range_mm is None)
        assert list(able.dwell_times_ns) == sorted(set(able.dwell_times_ns))
        assert not able.can_act or able.detectors, "name the detector that takes the frames"

    def test_nothing_works_before_it_is_connected(self) -> None:
        """Every command raises, and says that connecting helps."""
        microscope = self.make()
        for name, call in commands(microscope, self.timeout_s):
            _raises((NotConnectedError, UnsupportedError), call, name)
        microscope.close()

    def test_connecting_and_closing_twice_is_harmless(self) -> None:
        """And what was closed can be connected to again."""
        microscope = self.make()
        microscope.connect(self.timeout_s)
        microscope.connect(self.timeout_s)
        microscope.close()
        microscope.close()
        _raises((NotConnectedError, UnsupportedError), microscope.state, "state")
        microscope.connect(self.timeout_s)
        microscope.close()

    def test_it_tells_its_health(self) -> None:
        """Status is readable, and after activation it is ready."""
        with self.connected() as microscope:
            status = microscope.status()
            assert isinstance(status, MicroscopeStatus)
            assert status.ready or status.detail or not microscope.capabilities().can_act

    def test_it_tells_where_it_stands(self) -> None:
        """Within its own limits."""
        with self.connected() as microscope:
            if self._only_reads(microscope):
                return
            able = microscope.capabilities()
            state = microscope.state()
            assert state.detector in able.detectors
            assert (able.hfw_min_um or 0) <= state.hfw_um <= (able.hfw_max_um or np.inf)
            assert 1 <= state.frame_averages <= able.frame_averages_max
            for value, bounds in ((state.x_mm, able.stage_x_range_mm), (state.y_mm, able.stage_y_range_mm)):
                assert bounds is None or bounds[0] - PLACE_MM <= value <= bounds[1] + PLACE_MM

    def test_what_it_cannot_do_is_refused_and_touches_nothing(self) -> None:
        """By :class:`UnsupportedError`, for every function that the capabilities do not name."""
        with self.connected() as microscope:
            able = microscope.capabilities()
            before = microscope.state() if able.can_act else None
            for name, call in commands(microscope, self.timeout_s):
                if not offers(able, name):
                    _raises((UnsupportedError,), call, name)
            if before is not None:
                assert microscope.state() == before

    def test_a_value_outside_its_limits_is_refused_and_touches_nothing(self) -> None:
        """By :class:`OutOfRangeError`, which is not retryable."""
        with self.connected() as microscope:
            if self._only_reads(microscope):
                return
            able = microscope.capabilities()
            before = microscope.state()
            for name, call in out_of_range(microscope, able, self.timeout_s):
                error = _raises((OutOfRangeError,), call, name)
                assert not error.retryable
            for name, call in commands(microscope, self.timeout_s):
                if name in CHOICES:
                    _raises((UnsupportedError,), call, f"{name} of what there is not")
            assert microscope.state() == before

    def test_a_setting_is_reached_and_put_back(self) -> None:
        """Each in turn, as the state tells."""
        with self.connected() as microscope:
            if self._only_reads(microscope):
                return
            able = microscope.capabilities()
            before = microscope.state()
            for name, field, wanted, setter in settings(microscope, able, before, self.timeout_s):
                setter()
                reached = getattr(microscope.state(), field)
                _near(reached, wanted, f"{name}: wanted {wanted}, the state tells {reached}")
            if able.scan_rotation and before.scan_rotation_deg is None:
                microscope.set_scan_rotation(0.0)
            restore(microscope, before, self.timeout_s)
            _same_state(microscope.state(), before)

    def test_the_stage_goes_where_it_is_sent(self) -> None:
        """Absolutely and by a step, and back."""
        with self.connected() as microscope:
            if self._only_reads(microscope):
                return
            able = microscope.capabilities()
            if able.stage_x_range_mm is None:
                _raises((UnsupportedError,), lambda: microscope.move_to(0.0, 0.0, self.timeout_s), "move_to")
                return
            begun = microscope.state()
            step_mm = STEP_MM if begun.x_mm + STEP_MM <= able.stage_x_range_mm[1] else -STEP_MM
            reached = microscope.move_to(begun.x_mm + step_mm, begun.y_mm, self.timeout_s)
            assert np.hypot(reached[0] - begun.x_mm - step_mm, reached[1] - begun.y_mm) <= PLACE_MM
            reached = microscope.move_by(-step_mm, 0.0, self.timeout_s)
            assert np.hypot(reached[0] - begun.x_mm, reached[1] - begun.y_mm) <= PLACE_MM
            now = microscope.state()
            assert np.hypot(now.x_mm - reached[0], now.y_mm - reached[1]) <= PLACE_MM

    def test_a_frame_says_how_it_was_taken(self) -> None:
        """Two-dimensional grey levels of the size promised, with scale, place and a time in UTC."""
        with self.connected() as microscope:
            if self._only_reads(microscope):
                return
            able = microscope.capabilities()
            state = microscope.state()
            frame = microscope.acquire(self.timeout_s)
            _check_frame(frame, able, state)
            status = microscope.status()
            assert not able.blanking or status.beam_blanked, "blank the beam after a scan"

    def test_a_target_is_gone_to_and_undone(self) -> None:
        """As the gateway does for a rescan: field width, scan and focus in one, then everything back."""
        with self.connected() as microscope:
            if self._only_reads(microscope):
                return
            able = microscope.capabilities()
            before = microscope.state()
            target = Target(
                hfw_um=another(before.hfw_um, (able.hfw_min_um or 0.0, able.hfw_max_um or np.inf)),
                frame_averages=min(before.frame_averages + 1, able.frame_averages_max),
                autofocus=able.autofocus,
            )
            go_to(microscope, target, self.timeout_s)
            frame = microscope.acquire(self.timeout_s)
            assert frame.acquisition.hfw_um is not None
            _near(frame.acquisition.hfw_um, target.hfw_um, "the frame is not of the field asked for")
            assert frame.acquisition.frame_averages in (None, target.frame_averages)
            restore(microscope, before, self.timeout_s)
            _same_state(microscope.state(), before)

    def test_an_overview_shows_the_holder_and_the_sample_comes_back(self) -> None:
        """A colour picture; after it the instrument is activated again and stands as it did."""
        with self.connected() as microscope:
            if not microscope.capabilities().navigation_camera:
                return
            before = microscope.state()
            picture = microscope.overview(self.timeout_s)
            assert picture.dtype == np.uint8
            assert picture.ndim == 3, "height, width and three colours"
            assert picture.shape[2] == 3, "height, width and three colours"
            assert int(np.ptp(picture)) > 0, "it shows nothing"
            microscope.activate(self.timeout_s)
            _same_state(microscope.state(), before)

    def test_stop_ends_a_scan_and_the_instrument_can_be_used_again(self) -> None:
        """From another thread; a scan that was nearly done may end as a frame."""
        with self.connected() as microscope:
            if self._only_reads(microscope):
                return
            ended: list[object] = []

            def scan() -> None:
                try:
                    ended.append(microscope.acquire(self.timeout_s))
                except MicroscopeError as error:
                    ended.append(error)

            thread = threading.Thread(target=scan)
            thread.start()
            microscope.stop()
            thread.join(self.timeout_s)
            assert not thread.is_alive(), "the scan went on after stop"
            assert isinstance(ended[0], AcquiredFrame | StoppedError), ended[0]
            assert isinstance(microscope.acquire(self.timeout_s), AcquiredFrame)

    def _only_reads(self, microscope: Microscope) -> bool:
        """Whether it cannot act, in which case it must refuse to be asked for its state and for a frame."""
        if microscope.capabilities().can_act:
            return False
        _raises((UnsupportedError,), microscope.state, "state")
        _raises((UnsupportedError,), lambda: microscope.acquire(self.timeout_s), "acquire")
        return True


_RANGES = (
    "stage_x_range_mm",
    "stage_y_range_mm",
    "voltage_range_kv",
    "working_distance_range_mm",
    "spot_size_range",
    "stigmator_range",
)


def _raises(
    kinds: tuple[type[MicroscopeError], ...], call: Callable[[], object], what: str
) -> MicroscopeError:
    names = " or ".join(kind.__name__ for kind in kinds)
    try:
        call()
    except kinds as error:
        assert str(error).strip(), f"{what}: the error says nothing"
        return error
    except MicroscopeError as error:
        raise AssertionError(f"{what} raised {type(error).__name__} ({error}), not {names}") from error
    raise AssertionError(f"{what} did not raise {names}")


def _near(reached: Any, wanted: Any, message: str) -> None:
    if isinstance(wanted, str) or reached is None:
        assert reached == wanted, message
        return
    scale = max(float(np.max(np.abs(wanted))), 1e-9)
    assert float(np.max(np.abs(np.subtract(reached, wanted)))) <= RELATIVE * scale, message


def _same_state(now: MicroscopeState, was: MicroscopeState) -> None:
    for name, wanted in vars(was).items():
        reached = getattr(now, name)
        if name in ("x_mm", "y_mm"):
            assert abs(reached - wanted) <= PLACE_MM, f"{name}: {reached} after putting back {wanted}"
        elif wanted is not None:
            _near(reached, wanted, f"{name}: {reached} after putting back {wanted}")


def _check_frame(frame: AcquiredFrame, able: Capabilities, state: MicroscopeState) -> None:
    said = frame.acquisition
    assert frame.pixels.ndim == 2, "one channel of grey"
    assert frame.pixels.dtype in (np.uint8, np.uint16)
    height_px, width_px = frame.pixels.shape
    assert able.width_px in (None, width_px)
    assert able.height_px in (None, height_px)
    assert said.hfw_um is not None, "tell the field width that was reached"
    _near(said.hfw_um, state.hfw_um, f"a frame of {said.hfw_um} um, the state tells {state.hfw_um}")
    assert said.pixel_size_nm is not None, "tell the pixel size"
    _near(said.pixel_size_nm * width_px / 1000, said.hfw_um, "pixel size times width is not the field width")
    assert said.detector == state.detector
    assert frame.acquired_at.utcoffset() == UTC.utcoffset(None), "tell the time in UTC"
    if able.stage_x_range_mm is not None:
        assert frame.position_x_mm is not None
        assert frame.position_y_mm is not None
        assert np.hypot(frame.position_x_mm - state.x_mm, frame.position_y_mm - state.y_mm) <= PLACE_MM
