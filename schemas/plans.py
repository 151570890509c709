"""Plans of acquisitions: places and field widths, in order."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from schemas.base import Schema

PLACES_MAX = 10_000
LADDER_MAX = 16


class Place(Schema):
    """A place of the stage."""

    x_mm: float = Field(allow_inf_nan=False)
    y_mm: float = Field(allow_inf_nan=False)


class Plan(Schema):
    """Frames to take: at each place one of each field width, in order.

    It ends at its last frame, or earlier as ``until_particles`` or ``until_d50_within`` say. Settings that are null
    stay as the instrument has them.
    """

    places: tuple[Place, ...] = Field(min_length=1, max_length=PLACES_MAX)
    hfw_um: tuple[float, ...] = Field(
        min_length=1,
        max_length=LADDER_MAX,
        description="field widths, taken one after the other at each place",
    )
    on_slot: bool = Field(
        default=False, description="places count from the middle of the sample's slot on the holder"
    )
    autofocus: Literal["first", "each_place", "never"] = "first"
    detector: str | None = None
    dwell_time_ns: float | None = Field(default=None, gt=0)
    frame_averages: int | None = Field(default=None, ge=1, le=255)
    until_particles: int | None = Field(
        default=None, ge=1, description="end when the sample has so many particles, in all its frames"
    )
    until_d50_within: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="end when the 97.5 % interval of D50 (number, all particles, first field width) lies within this "
        "share of D50",
    )

    @field_validator("hfw_um")
    @classmethod
    def _widths(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < width < float("inf") for width in value):
            raise ValueError("field widths must be over 0")
        return value

    @property
    def frames(self) -> int:
        """How many frames the whole plan has."""
        return len(self.places) * len(self.hfw_um)

    def frame(self, index: int) -> tuple[Place, float, bool]:
        """Place, field width and whether to focus of one frame.

        Raises
        ------
        IndexError
            Where the plan has no such frame.
        """
        place, step = divmod(index, len(self.hfw_um))
        if not 0 <= index < self.frames:
            raise IndexError(f"frame {index} of a plan of {self.frames}")
        focus = {"first": index == 0, "each_place": step == 0, "never": False}[self.autofocus]
        return self.places[place], self.hfw_um[step], focus


def grid(
    centre: Place,
    columns: int,
    rows: int,
    hfw_um: float,
    *,
    height_over_width: float = 0.625,
    overlap: float = 0.0,
) -> tuple[Place, ...]:
    """Places of a grid of neighbouring fields about a centre, row by row, every second row backwards.

    Parameters
    ----------
    height_over_width
        Of a frame.
    overlap
        Share of a field that its neighbour shows too; negative leaves gaps.

    Raises
    ------
    ValueError
        Where a number is out of range.
    """
    if columns < 1 or rows < 1 or columns * rows > PLACES_MAX:
        raise ValueError(f"a grid of {columns} x {rows}; give 1 x 1 to {PLACES_MAX} places")
    if hfw_um <= 0 or height_over_width <= 0 or overlap >= 1:
        raise ValueError("hfw_um and height_over_width must be over 0, overlap under 1")
    step_x_mm = hfw_um * (1 - overlap) / 1000
    step_y_mm = step_x_mm * height_over_width
    places: list[Place] = []
    for row in range(rows):
        across = range(columns) if row % 2 == 0 else reversed(range(columns))
        places.extend(
            Place(
                x_mm=round(centre.x_mm + (column - (columns - 1) / 2) * step_x_mm, 6),
                y_mm=round(centre.y_mm + (row - (rows - 1) / 2) * step_y_mm, 6),
            )
            for column in across
        )
    return tuple(places)
