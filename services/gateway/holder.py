"""The holder's map at the gateway: kept on disk, set by request, and asked where a frame belongs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from labsem.frames import write_atomically
from schemas.acts import Act
from schemas.base import Schema
from schemas.holder import Holder, Slot
from schemas.plans import Place, Plan
from schemas.requests import GetHolder, HolderAnswer, SetHolder

log = structlog.get_logger(__name__)


class HolderShelf:
    """Which sample lies where; without a map every place is allowed.

    Parameters
    ----------
    file
        Where the map is kept over restarts.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._holder = self._kept()

    def handlers(self) -> Mapping[type[Schema], Callable[[Any], Schema]]:
        """For :class:`labsem.streams.RequestServer`."""
        return {SetHolder: self.set, GetHolder: self.get}

    def set(self, request: SetHolder) -> HolderAnswer:
        """Take a new map in place of the old one; an empty one forgets it."""
        with self._lock:
            write_atomically(self._file, request.holder.to_bytes())
            self._holder = request.holder
        log.info("holder_set", slots=len(request.holder.slots))
        return HolderAnswer(holder=request.holder)

    def get(self, request: GetHolder) -> HolderAnswer:  # noqa: ARG002
        """The map as it stands."""
        return HolderAnswer(holder=self._holder)

    def slot_at(self, x_mm: float | None, y_mm: float | None) -> Slot | None:
        """The slot on which a place lies; None where the place or its slot is unknown."""
        if x_mm is None or y_mm is None:
            return None
        return self._holder.at(Place(x_mm=x_mm, y_mm=y_mm))

    def kept(self, sample_id: str, place: Place, around: Place | None) -> Place:
        """A place for one more frame of a sample: itself, or mirrored about the frame before, on the sample's slot.

        Without a map, or where the sample is on no slot of it, every place will do.

        Raises
        ------
        ValueError
            Where neither lies on a slot of the sample.
        """
        slots = self._holder.of(sample_id)
        wanted = [place]
        if around is not None:
            wanted.append(Place(x_mm=2 * around.x_mm - place.x_mm, y_mm=2 * around.y_mm - place.y_mm))
        for each in wanted:
            if not slots or any(slot.holds(each) for slot in slots):
                return each
        raise ValueError(
            f"place {place.x_mm:g}, {place.y_mm:g} mm is not on the slot of {sample_id}; correct it or the holder"
        )

    def placed(self, act: Act) -> Plan:
        """An acquisition's plan with all places on the stage.

        Raises
        ------
        ValueError
            Where the act has no plan, or a place is not on its sample's slot; the message names the place.
        """
        if act.plan is None:
            raise ValueError(
                f"act {act.act_id} has no plan; upgrade labsem on both hosts to the same version"
            )
        plan, slots = act.plan, self._holder.of(act.sample_id)
        if not self._holder.slots:
            if plan.on_slot:
                raise ValueError(
                    "its places count from the middle of a slot, and no holder is set (labsem holder)"
                )
            return plan
        if not slots:
            there = ", ".join(f"{slot.slot}: {slot.sample_id}" for slot in self._holder.slots)
            raise ValueError(
                f"sample {act.sample_id!r} is not on the holder ({there}); set it with labsem holder"
            )
        if plan.on_slot:
            centre = slots[0]
            places = tuple(
                Place(x_mm=round(place.x_mm + centre.x_mm, 6), y_mm=round(place.y_mm + centre.y_mm, 6))
                for place in plan.places
            )
            plan = plan.model_copy(update={"places": places, "on_slot": False})
        for number, place in enumerate(plan.places, start=1):
            if not any(slot.holds(place) for slot in slots):
                found = self._holder.at(place)
                where = "on no slot" if found is None else f"on slot {found.slot}, {found.sample_id}"
                raise ValueError(
                    f"place {number} of the plan, {place.x_mm:g}, {place.y_mm:g} mm, is {where}, not on that of "
                    f"{act.sample_id}; correct the plan or the holder"
                )
        return plan

    def _kept(self) -> Holder:
        try:
            return Holder.read(self._file.read_bytes())
        except FileNotFoundError:
            return Holder()
        except (OSError, ValidationError) as error:
            log.error("holder_unreadable", path=str(self._file), error=str(error), remedy="set it again")
            return Holder()
