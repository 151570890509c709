"""Ids by their beginning, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from labsem.store import NotFoundError, RefusedError, Store
from labsem.store.identify import identify
from schemas.image import ImageAcquired
from schemas.morphology import FrameMorphology

IDS = tuple(
    UUID(each)
    for each in (
        "00ab1234-0000-4000-8000-000000000001",
        "00ab1234-ffff-4000-8000-000000000002",
        "ffffffff-ffff-4fff-bfff-ffffffffffff",
    )
)


def test_an_id_is_found_by_how_it_begins(
    store: Store, make_event: Callable[..., ImageAcquired], record: Callable[..., FrameMorphology]
) -> None:
    with store.write() as session:
        for each in IDS:
            record(session, make_event(frame_id=each))
    with store.read() as session:
        for each in IDS:
            assert identify(session, "frame", str(each)) == each
            assert identify(session, "frame", each.hex[:13]) == each
            assert identify(session, "frame", str(each)[:14].upper()) == each
        assert identify(session, "frame", "f") == IDS[2]
        with pytest.raises(RefusedError, match=r"several ids of frames begin with 00ab1234.*give more of it"):
            identify(session, "frame", "00ab1234")
        with pytest.raises(
            NotFoundError, match=r"no frame has an id that begins with 01; .*labsem frames list"
        ):
            identify(session, "frame", "01")
        with pytest.raises(NotFoundError, match="no rescan has an id that begins with 00ab"):
            identify(session, "rescan", "00ab")
