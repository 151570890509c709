"""Cursors and visible gaps."""

from __future__ import annotations

from uuid import uuid4

import pytest

from labsem.store import Store, cursors


def test_a_cursor_is_kept_for_each_reader(store: Store) -> None:
    epoch, other = uuid4(), uuid4()
    with store.write() as session:
        assert cursors.get(session, "gateway.sem-1") is None
        cursors.put(session, "gateway.sem-1", epoch, 4)
        cursors.put(session, "gateway.sem-1", epoch, 2, reader="planner")
    with store.write() as session:
        cursors.put(session, "gateway.sem-1", other, 1)
    with store.read() as session:
        assert cursors.all_cursors(session) == (
            cursors.Cursor("gateway.sem-1", other, 1, "default"),
            cursors.Cursor("gateway.sem-1", epoch, 2, "planner"),
        )


def test_a_cursor_moves_with_its_transaction_only(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as session:
        cursors.put(session, "gateway.sem-1", uuid4(), 4)
        raise RuntimeError("the event could not be stored")
    with store.read() as session:
        assert cursors.get(session, "gateway.sem-1") is None


def test_gaps_are_shown_latest_first(store: Store) -> None:
    epoch = uuid4()
    with store.write() as session:
        cursors.record_gap(session, "gateway.sem-1", epoch=epoch, first=1, last=3, reason="pruned")
        cursors.record_gap(session, "gateway.sem-2", epoch=epoch, first=9, last=9, reason="journal_put_back")
    with store.read() as session:
        gaps = cursors.gaps(session)
    assert [(gap.stream, gap.first, gap.last, gap.reason) for gap in gaps] == [
        ("gateway.sem-2", 9, 9, "journal_put_back"),
        ("gateway.sem-1", 1, 3, "pruned"),
    ]
