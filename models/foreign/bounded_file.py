"""A file that never hands out more than it holds, so that a declared length cannot allocate memory."""

import io
from typing import BinaryIO

from models.checkpoint import CheckpointError


class BoundedFile(io.RawIOBase):
    """A seekable binary file, or `size` bytes of it from `start` on, read in full or refused.

    Unlike a plain file it raises `CheckpointError` instead of returning less than was asked for, and checks that before
    it allocates. `limit` also bounds a single read, where only small ones are expected. Several may share one file:
    each has its own position.
    """

    def __init__(self, file: BinaryIO, limit: int | None = None, start: int = 0, size: int | None = None) -> None:
        self.file, self.limit, self.start, self.at = file, limit, start, 0
        self.size = file.seek(0, io.SEEK_END) - start if size is None else size

    @property
    def remaining(self) -> int:
        """Bytes from here to the end."""
        return self.size - self.at

    def part(self, start: int, size: int) -> "BoundedFile":
        """The `size` bytes from `start` on, as a file."""
        if not 0 <= start <= start + size <= self.size:
            raise CheckpointError("ends too early: it is truncated or damaged")
        return BoundedFile(self.file, self.limit, self.start + start, size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise CheckpointError("points to before its beginning: it is damaged")
        self.at = base + offset
        return self.at

    def read(self, count: int | None = -1) -> bytes:
        """Exactly `count` bytes, or what remains when it is negative."""
        count = self.remaining if count is None or count < 0 else count
        if count > self.remaining:
            raise CheckpointError("ends too early: it is truncated or damaged")
        if self.limit is not None and count > self.limit:
            raise CheckpointError(f"declares a part of {count} bytes where no more than {self.limit} are expected")
        self.file.seek(self.start + self.at)
        self.at += count
        return self.file.read(count)

    def readline(self, _size: int | None = -1) -> bytes:
        """The rest of the line; names in a pickle are lines, and none is longer than 4096 bytes."""
        self.file.seek(self.start + self.at)
        line = self.file.readline(min(4097, max(0, self.remaining)))
        if len(line) > 4096 or not line.endswith(b"\n"):
            raise CheckpointError("holds a line without end: it is truncated or damaged")
        self.at += len(line)
        return line

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        buffer[:] = self.read(len(buffer))
        return len(buffer)
