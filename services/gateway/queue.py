"""The frames that a gateway is to take by itself: its own plan's, and those of the acquisition that it has claimed."""

from __future__ import annotations

import time
from uuid import UUID

import structlog

from drivers.errors import MicroscopeError, StoppedError
from schemas.acts import Act
from services.gateway.acts import ActsClient
from services.gateway.frames import FrameShelf
from services.gateway.holder import HolderShelf
from services.gateway.plan import AcquisitionPlan, PlannedFrame, frames_of

log = structlog.get_logger(__name__)

TRIES = 3
"""How often a frame is tried that fails in a way which trying again may mend."""


class PlanQueue:
    """Frames in order, with a pause between them.

    Attributes
    ----------
    focus_mm
        Working distance of the last frame: of one that does not focus by itself.
    """

    def __init__(self, plan: AcquisitionPlan | None, acts: ActsClient, holder: HolderShelf) -> None:
        self._frames = list(plan.frames) if plan is not None else []
        self._interval_s = plan.interval_s if plan is not None else 0.0
        self._acts, self._holder = acts, holder
        self._tries = 0
        self._due_at_s = 0.0
        self.focus_mm: float | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def begin(self, act: Act, shelf: FrameShelf) -> None:
        """Add an acquisition's frames, from the first that was not taken."""
        try:
            frames = frames_of(act, self._holder.placed(act), shelf.answered(act.act_id))
        except ValueError as error:
            self._acts.report(act.act_id, str(error))
            return
        log.info("acquisition_begun", act_id=str(act.act_id), frames=len(frames), planned=act.frames_planned)
        self._frames += frames

    def next(self) -> PlannedFrame | None:
        """The next frame, where it is due and still wanted."""
        if not self._frames or time.monotonic() < self._due_at_s:
            return None
        frame = self._frames[0]
        if frame.act_id is not None and not self._still_wanted(frame.act_id):
            return None
        return frame

    def done(self, working_distance_mm: float | None = None) -> None:
        """The next frame was taken, or is given up."""
        if working_distance_mm is not None:
            self.focus_mm = working_distance_mm
        del self._frames[0]
        self._tries = 0
        self._due_at_s = time.monotonic() + self._interval_s

    def failed(self, error: MicroscopeError | OSError) -> None:
        """The next frame failed: it is tried again, or given up with the acquisition that it belongs to."""
        frame = self._frames[0]
        if isinstance(error, StoppedError):
            log.info("planned_frame_stopped", sample_id=frame.sample_id)
            return
        self._tries += 1
        again = isinstance(error, OSError) or error.retryable
        if again and self._tries < TRIES:
            log.warning("planned_frame_failed", error=str(error), again=True)
            return
        log.error("planned_frame_given_up", sample_id=frame.sample_id, error=str(error))
        if frame.act_id is None:
            self.done()
        else:
            self._acts.report(frame.act_id, f"frame {frame.index}: {error}")
            self._drop(frame.act_id)

    def _still_wanted(self, act_id: UUID) -> bool:
        """Whether an acquisition still runs; where nobody answers it goes on."""
        held = self._acts.held()
        if held is None or any(act.act_id == act_id for act in held):
            return True
        log.info("acquisition_ended", act_id=str(act_id))
        self._drop(act_id)
        return False

    def _drop(self, act_id: UUID) -> None:
        self._frames = [frame for frame in self._frames if frame.act_id != act_id]
        self._tries = 0
