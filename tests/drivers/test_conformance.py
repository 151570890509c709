"""The drivers of the house keep to what docs/drivers.md asks of every driver; and the checks see one that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drivers import BasicMicroscope, MicroscopeStatus, Mode
from drivers.testing import MicroscopeConformance
from drivers.virtual import VirtualMicroscope
from schemas.acts import Capabilities

SMALL = {"latency": 0.0, "width_px": 320, "height_px": 240}


class TestVirtual(MicroscopeConformance):
    def make(self):
        return VirtualMicroscope(**SMALL)


class TestVirtualFoundUnloaded(MicroscopeConformance):
    def make(self):
        return VirtualMicroscope(**SMALL, mode="unloaded")


class NoStage(VirtualMicroscope):
    """An instrument whose stage, focus and dwell time are set by hand."""

    move_to, move_by = BasicMicroscope.move_to, BasicMicroscope.move_by
    autofocus, set_working_distance = BasicMicroscope.autofocus, BasicMicroscope.set_working_distance
    _refuse = BasicMicroscope._refuse

    def capabilities(self) -> Capabilities:
        return (
            super()
            .capabilities()
            .model_copy(
                update={
                    "stage_x_range_mm": None,
                    "stage_y_range_mm": None,
                    "working_distance_range_mm": None,
                    "autofocus": False,
                }
            )
        )


class TestWithoutAStage(MicroscopeConformance):
    def make(self):
        return NoStage(**SMALL)


class ForgetsToConnect(VirtualMicroscope):
    def state(self):
        return self._state


class MillimetresForMicrometres(VirtualMicroscope):
    def set_hfw(self, hfw_um: float) -> float:
        return super().set_hfw(hfw_um / 10)


class StaysAway(VirtualMicroscope):
    def move_to(self, x_mm: float, y_mm: float, timeout_s: float) -> tuple[float, float]:
        super().move_to(x_mm + 0.1, y_mm, timeout_s)
        return x_mm, y_mm


class LeavesTheBeamOn(VirtualMicroscope):
    def status(self) -> MicroscopeStatus:
        return MicroscopeStatus(mode=Mode.SEM, ready=True, beam_blanked=False)


class TellsAnotherField(VirtualMicroscope):
    def acquire(self, timeout_s: float):
        frame = super().acquire(timeout_s)
        return replace(frame, acquisition=frame.acquisition.model_copy(update={"hfw_um": 10.0}))


class TakesAnything(VirtualMicroscope):
    def set_voltage(self, voltage_kv: float) -> None:
        pass


class PromisesRotation(VirtualMicroscope):
    def set_scan_rotation(self, rotation_deg: float) -> None:
        pass


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (ForgetsToConnect, "test_nothing_works_before_it_is_connected"),
        (MillimetresForMicrometres, "test_a_setting_is_reached_and_put_back"),
        (StaysAway, "test_the_stage_goes_where_it_is_sent"),
        (LeavesTheBeamOn, "test_a_frame_says_how_it_was_taken"),
        (TellsAnotherField, "test_a_frame_says_how_it_was_taken"),
        (TakesAnything, "test_a_value_outside_its_limits_is_refused_and_touches_nothing"),
        (PromisesRotation, "test_a_setting_is_reached_and_put_back"),
    ],
)
def test_a_driver_that_breaks_the_protocol_is_found(broken, check):
    class Broken(MicroscopeConformance):
        def make(self):
            return broken(**SMALL)

    with pytest.raises(AssertionError):
        getattr(Broken(), check)()
