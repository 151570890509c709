"""The one sender of a stream."""

from __future__ import annotations

import time

import structlog
import zmq

from labsem.streams.endpoints import bind
from labsem.streams.journal import Bounds, JournalReader
from labsem.streams.threads import SocketThread
from schemas.envelope import HEARTBEAT_TOPIC, Heartbeat

log = structlog.get_logger(__name__)

_PAGE = 500


class Publisher(SocketThread):
    """Sends what is committed to a journal, in sequence order, and a heartbeat each second.

    A message that no subscriber could receive is not lost: the next message or heartbeat shows the gap, and
    the subscriber asks the :class:`~labsem.streams.server.RequestServer` beside it for replay. So a publisher
    begins with what is journalled after its start; what came before is replayed on demand.

    Parameters
    ----------
    journal : JournalReader
        Of the stream to publish; polled, since any process of the service may append to it.
    endpoint : str
        Address of the PUB socket on loopback; port 0 takes any free one.
    poll_s, heartbeat_s : float
        Intervals in seconds.
    """

    def __init__(
        self, journal: JournalReader, endpoint: str, *, poll_s: float = 0.2, heartbeat_s: float = 1.0
    ) -> None:
        super().__init__(f"publisher-{journal.stream}")
        self.endpoint = endpoint
        self._journal = journal
        self._poll_s = poll_s
        self._heartbeat_s = heartbeat_s
        self._sent: Bounds | None = None
        self._socket: zmq.Socket[bytes]

    def _open(self) -> None:
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, 10_000)
        try:
            self.endpoint = bind(self._socket, self.endpoint)
        except ValueError:
            self._socket.close(linger=0)
            raise

    def _close(self) -> None:
        self._socket.close(linger=500)

    def _run(self) -> None:
        next_beat = 0.0
        while not self._stopping.is_set():
            try:
                renewed = self._send_new()
            except self._journal.transient as error:
                log.warning("journal cannot be read", stream=self._journal.stream, error=str(error))
            else:
                if renewed or time.monotonic() >= next_beat:
                    self._send_heartbeat()
                    next_beat = time.monotonic() + self._heartbeat_s
            wait_s = min(self._poll_s, max(next_beat - time.monotonic(), 0.01))
            if self._woken.poll(int(wait_s * 1000)):
                self._drain_wake_up_calls()

    def _send_new(self) -> bool:
        """Send what was committed since the last time; True where the journal is another than before."""
        bounds = self._journal.bounds()
        sent = self._sent
        if sent is None or sent.epoch != bounds.epoch or bounds.last < sent.last:
            self._sent = bounds
            return True
        last = sent.last
        while last < bounds.last and not self._stopping.is_set():
            entries = self._journal.read(last, _PAGE)
            if not entries:
                break
            for entry in entries:
                self._socket.send_multipart(
                    [entry.topic.encode(), entry.envelope.encode(), entry.payload.encode()]
                )
            last = entries[-1].sequence
        self._sent = Bounds(bounds.epoch, bounds.first, max(last, bounds.last))
        return False

    def _send_heartbeat(self) -> None:
        if self._sent is not None:
            beat = Heartbeat(
                stream=self._journal.stream,
                epoch=self._sent.epoch,
                first=self._sent.first,
                last=self._sent.last,
            )
            self._socket.send_multipart([HEARTBEAT_TOPIC.encode(), beat.to_bytes()])
