"""Lets something that yields bytes be read as a file, so that it can be stored without being held."""

import io
from collections.abc import Iterable
from typing import BinaryIO, cast


class _ChunkReader(io.RawIOBase):
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def byte_stream(chunks: Iterable[bytes], buffer_size: int = 2**20) -> BinaryIO:
    """A binary stream of `chunks` put together, readable once and not seekable. What the iterator raises, it raises."""
    return cast(BinaryIO, io.BufferedReader(_ChunkReader(chunks), buffer_size))
