"""Both ends of a message stream: journalled events with replay, and requests.

A service runs a :class:`Publisher` and a :class:`RequestServer` beside its journal; whoever listens runs a
:class:`Subscriber`, and asks with a :class:`RequestClient`. Sockets live in threads of their own, over tcp on
loopback. :mod:`labsem.streams.stored` joins them to the store.
"""

from labsem.streams.asking import RequestClient
from labsem.streams.cursors import Cursors, MemoryCursors, SqliteCursors
from labsem.streams.errors import (
    CursorFileError,
    EndpointError,
    RequestRefusedError,
    ServiceUnavailableError,
    StreamError,
)
from labsem.streams.journal import Bounds, Entry, JournalReader
from labsem.streams.plain import PlainSubscriber
from labsem.streams.publisher import Publisher
from labsem.streams.sequencer import Gap, Position
from labsem.streams.server import RequestServer
from labsem.streams.subscriber import Subscriber

__all__ = [
    "Bounds",
    "CursorFileError",
    "Cursors",
    "EndpointError",
    "Entry",
    "Gap",
    "JournalReader",
    "MemoryCursors",
    "PlainSubscriber",
    "Position",
    "Publisher",
    "RequestClient",
    "RequestRefusedError",
    "RequestServer",
    "ServiceUnavailableError",
    "SqliteCursors",
    "StreamError",
    "Subscriber",
]
