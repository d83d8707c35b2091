"""Storing an object while it is still being written."""

import io
import threading
import time
from collections.abc import Iterator
from queue import Full, Queue
from types import TracebackType

from service.stores.protocol import Store
from workers.byte_stream import byte_stream
from workers.stages import StageClock

STAGE = "upload"

_CHUNK = 2**20
_CHUNKS_WAITING = 8
_LOOK_EVERY_S = 0.5


class _Abandoned(Exception):
    """The writer gave up; what was written of the object must not be kept."""


class UploadPipe(io.RawIOBase):
    """A stream for writing; a thread puts what is written into the store, a few megabytes behind at most.

    Use as a context manager. Leaving it waits until the object is stored whole, and raises what the store raised;
    leaving it by an exception stores nothing.
    """

    def __init__(self, store: Store, key: str, clock: StageClock) -> None:
        """`clock` is told how long the store was at work, as stage `upload`."""
        self._store, self._key, self._clock = store, key, clock
        self._queue: Queue[bytes | _Abandoned | None] = Queue(_CHUNKS_WAITING)
        self._buffer = bytearray()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._upload, name=f"upload {key}", daemon=True)

    def __enter__(self) -> "UploadPipe":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._send(bytes(self._buffer))
            self._send(None)
            self._thread.join()
            if self._failure is not None:
                raise self._failure
            return
        while self._thread.is_alive():
            try:
                self._queue.put(_Abandoned(), timeout=_LOOK_EVERY_S)
                break
            except Full:
                continue
        self._thread.join()

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        """Take all of `data`; waits while the store is too far behind, and raises what it raised."""
        self._buffer += data
        if len(self._buffer) >= _CHUNK:
            self._send(bytes(self._buffer))
            self._buffer.clear()
        return len(data)

    def _send(self, item: bytes | None) -> None:
        while True:
            if self._failure is not None:
                raise self._failure
            try:
                return self._queue.put(item, timeout=_LOOK_EVERY_S)
            except Full:
                continue

    def _upload(self) -> None:
        try:
            self._store.put(self._key, byte_stream(self._chunks()))
        except BaseException as failure:  # noqa: BLE001 - handed to the writing thread, which raises it
            self._failure = failure

    def _chunks(self) -> Iterator[bytes]:
        began = time.monotonic()
        while True:
            self._clock.add(STAGE, time.monotonic() - began)
            item = self._queue.get()
            began = time.monotonic()
            if item is None:
                return
            if isinstance(item, _Abandoned):
                raise item
            if item:
                yield item
