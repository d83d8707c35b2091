"""What a zip is made of: members of known size, held in memory when small and on disk when they grow."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import SEEK_END
from tempfile import TemporaryFile
from types import TracebackType
from typing import BinaryIO, cast

_CHUNK = 2**20


class Spool:
    """Bytes that grow while samples pass, on disk. A context manager; what was written is gone when it is left."""

    def __init__(self) -> None:
        self.stream = cast(BinaryIO, TemporaryFile())  # noqa: SIM115  # closed by `close`

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Drop what was written."""
        self.stream.close()

    @property
    def size(self) -> int:
        """Bytes written."""
        return self.stream.seek(0, SEEK_END)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self.stream.write(data)

    def chunks(self) -> Iterator[bytes]:
        """Everything written, from the beginning. Nothing may be written before the last chunk is taken."""
        self.stream.seek(0)
        while chunk := self.stream.read(_CHUNK):
            yield chunk


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a zip. Its pieces stand one behind the other; they are read when the member's turn comes."""

    path: str
    pieces: tuple[bytes | Spool, ...]

    @classmethod
    def of(cls, path: str, *pieces: bytes | Spool) -> "Member":
        """The member with these pieces."""
        return cls(path, pieces)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(piece.size if isinstance(piece, Spool) else len(piece) for piece in self.pieces)

    @property
    def crc(self) -> int:
        """CRC-32 of the bytes. Reads through them."""
        crc = 0
        for chunk in self.chunks():
            crc = zlib.crc32(chunk, crc)
        return crc

    def chunks(self) -> Iterator[bytes]:
        """The bytes."""
        for piece in self.pieces:
            if isinstance(piece, Spool):
                yield from piece.chunks()
            else:
                yield piece
