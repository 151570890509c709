"""What all schemas share: strict models, UTC times, sample ids."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints


def _to_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


UtcTime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""A time with a zone, held in UTC; a naive time is refused."""

SampleId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""1 to 64 of letters, digits, ``.``, ``_``, ``-``."""

SourceId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""Names a stream's publisher, an instrument or an image root."""

Label = Annotated[str, StringConstraints(min_length=1, max_length=64)]
"""A planner's own short string, found again on every summary that follows from it."""


class Schema(BaseModel):
    """A frozen model: unknown fields are refused when it is written, ignored when it is read with :meth:`read`."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")

    @classmethod
    def read(cls, raw: bytes | str) -> Self:
        """Parse JSON as it came from outside: strict types, fields of a later minor version ignored.

        Raises
        ------
        pydantic.ValidationError
            Where a field is missing or has the wrong type or range.
        """
        return cls.model_validate_json(raw, strict=True, extra="ignore")

    def to_bytes(self) -> bytes:
        """JSON in UTF-8."""
        return self.model_dump_json().encode()


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)
