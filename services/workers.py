"""A spawned process for inference or training, started under the allocator's environment."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

from labsem.networks.allocator import ALLOCATOR_ENVIRONMENT

S = TypeVar("S")
Item = TypeVar("Item")
T = TypeVar("T")

Report = Callable[..., None]
"""Given to a function that runs in a worker: what it is called with arrives at the caller's ``progress``."""

_channel: Any = None
_stop: Any = None
_started: Any = None


def worker_pool(channel: Any = None, stop: Any = None) -> ProcessPoolExecutor:
    """A pool of one process; it starts with the first :func:`submit`, ends with the pool or with this process."""
    return ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=_begin, initargs=(channel, stop)
    )


@contextmanager
def allocator_environment() -> Iterator[None]:
    """Processes started inside get the allocator's settings; variables that are set already stay."""
    added = {name: value for name, value in ALLOCATOR_ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def run_in_worker(
    function: Callable[..., T], *arguments: Any, progress: Callable[..., None] | None = None
) -> T:
    """``function(report, *arguments)`` in a worker; its result, or its exception.

    What it reports is handed to ``progress`` in this thread. Function, arguments and reports are pickled. On Ctrl-C
    its next report raises KeyboardInterrupt in the worker, so that it can leave its work in order.
    """
    context = get_context("spawn")
    channel, stop = context.Queue(), context.Event()
    with worker_pool(channel, stop) as pool:
        with allocator_environment():
            future = pool.submit(_call, function, *arguments)
        while True:
            try:
                ended = future.done()
                for message in _drain(channel):
                    if progress is not None:
                        progress(*message)
                if ended:
                    return future.result()
            except KeyboardInterrupt:
                if future.done() or stop.is_set():
                    raise
                stop.set()


def map_in_workers(
    function: Callable[[S, Item], T],
    items: Sequence[Item],
    *,
    start: Callable[[], S],
    processes: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[T]:
    """``function(start(), item)`` of each item, in their order, with one ``start()`` for each of several workers.

    All are pickled. The first exception ends it, and so does Ctrl-C, when the items that are being worked on are done.
    """
    pool = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_begin_with, initargs=(start,)
    )
    try:
        with allocator_environment():
            futures = [pool.submit(_apply, function, item) for item in items]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            if progress is not None:
                progress(done, len(items))
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_with(start: Callable[[], S]) -> None:
    global _started
    _begin(None, None)
    _started = start()


def _apply(function: Callable[[S, Item], T], item: Item) -> T:
    return function(_started, item)


def _drain(channel: Any, patience_s: float = 0.1) -> Iterator[tuple[Any, ...]]:
    while True:
        try:
            yield channel.get(timeout=patience_s)
        except queue.Empty:
            return


def _call(function: Callable[..., T], *arguments: Any) -> T:
    def report(*message: Any) -> None:
        if _channel is not None:
            _channel.put(message)
        if _stop is not None and _stop.is_set():
            raise KeyboardInterrupt

    return function(report, *arguments)


def _begin(channel: Any, stop: Any) -> None:
    """In the worker: Ctrl-C is the parent's to handle, and nothing outlives the parent."""
    global _channel, _stop
    _channel, _stop = channel, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, name="parent-watch", daemon=True).start()
