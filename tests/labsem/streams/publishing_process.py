"""A publisher in a process of its own, to be killed: python publishing_process.py FOLDER EVENTS REQUESTS LAST."""

from __future__ import annotations

import sys
from pathlib import Path

from labsem.store import Store, journal
from labsem.streams import Publisher, RequestServer
from labsem.streams.stored import StoreJournal
from schemas.acts import Capabilities, InstrumentState, InstrumentStatus

STREAM = "gateway.test"


def main(folder: Path, events: str, requests: str, last: int) -> None:
    """Journal the numbers up to ``last``, a few in each transaction, while publishing them; then wait for the end."""
    store = Store.open(f"sqlite:///{(folder / 'source.sqlite').as_posix()}")
    kept = StoreJournal(store, STREAM)
    with (
        RequestServer(requests, service="source", journals=[kept]),
        Publisher(kept, events, poll_s=0.01, heartbeat_s=0.1) as publisher,
    ):
        number = kept.bounds().last
        while number < last:
            with store.write() as session:
                for _ in range(min(3, last - number)):
                    number += 1
                    status = InstrumentStatus(
                        instrument_id="sem-1",
                        state=InstrumentState.AVAILABLE,
                        driver="virtual",
                        capabilities=Capabilities(can_act=True),
                        detail=str(number),
                    )
                    journal.append(session, STREAM, status)
            publisher.wake()
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
