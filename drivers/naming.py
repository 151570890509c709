"""Sample ids for frames that a vendor's software saved: from the data bar's label, the path, or a pattern."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

SOURCES: Final = ("pattern", "databar", "folder", "file")
ID_LENGTH: Final = 64
_REFUSED: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class SampleName:
    """A sample's id, and its name as a person wrote it."""

    sample_id: str
    name: str


class SampleNaming:
    """Takes a sample's name from the first source that has one.

    Parameters
    ----------
    sources
        Comma-separated, in order: ``pattern``, ``databar`` (the label that the operator typed), ``folder`` (the one
        that the file lies in), ``file`` (its name without suffix).
    pattern
        Regular expression with a group ``sample``, searched in the file's path under the watched folder.
    otherwise
        Id of frames for which no source has a name.

    Raises
    ------
    ValueError
        Naming what cannot be used.
    """

    def __init__(
        self, sources: str = "pattern,databar,folder", pattern: str = "", otherwise: str = "unnamed"
    ) -> None:
        self._sources = tuple(part.strip() for part in sources.split(",") if part.strip())
        unknown = [part for part in self._sources if part not in SOURCES]
        if unknown or not self._sources:
            raise ValueError(
                f"sample_from: {', '.join(unknown) or 'nothing'}; give some of {', '.join(SOURCES)}"
            )
        try:
            self._pattern = re.compile(pattern) if pattern else None
        except re.error as error:
            raise ValueError(f"sample_pattern {pattern!r} is no regular expression: {error}") from error
        if self._pattern is not None and "sample" not in self._pattern.groupindex:
            raise ValueError(f"sample_pattern {pattern!r} has no group (?P<sample>...)")
        if sample_id_of(otherwise) != otherwise:
            raise ValueError(
                f"sample_otherwise {otherwise!r} is no sample id: letters, digits, '.', '_', '-'"
            )
        self._otherwise = otherwise

    def name(self, path: str, databar_label: str | None) -> SampleName:
        """Name the sample of a file.

        Parameters
        ----------
        path
            Under the watched folder, POSIX style.
        databar_label
            As the file's header has it.
        """
        place = PurePosixPath(path)
        for source in self._sources:
            found: str | None = None
            if source == "pattern" and self._pattern is not None:
                match = self._pattern.search(path)
                found = match.group("sample") if match else None
            elif source == "databar":
                found = databar_label
            elif source == "folder":
                found = place.parent.name
            elif source == "file":
                found = place.stem
            found = " ".join((found or "").split())
            if found:
                return SampleName(sample_id_of(found), found[:200])
        return SampleName(self._otherwise, self._otherwise)


def sample_id_of(name: str) -> str:
    """A valid sample id for a name; the name itself where it is one.

    Spaces become ``_`` and what else an id cannot hold ``-``. Where more than spaces was changed, six characters of
    the name's SHA-256 follow, so that two names never become one sample.
    """
    spaced = name.replace(" ", "_")
    plain = _REFUSED.sub("-", spaced)
    if plain == spaced and len(plain) <= ID_LENGTH:
        return plain
    mark = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{plain[: ID_LENGTH - 7]}-{mark}"
