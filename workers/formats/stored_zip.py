"""A zip of stored members, written while they come.

Sizes and checksums stand in front of the data, so that a reader can stream, too. The table of contents, which ends a
zip and grows with it, waits on disk: a million members take no more memory than ten.
"""

import struct
from collections.abc import Iterable, Iterator

from workers.formats.members import Member, Spool

_CHUNK = 2**20
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")

_PLAIN, _WITH_64_BITS = 20, 45
"""Versions of the format that a reader must know: 2.0, and 4.5 for 64-bit sizes and offsets."""
_MADE_ON_UNIX = 3 << 8
_UTF_8_NAMES = 1 << 11
_MODE = 0o100644 << 16
_MODIFIED = (0, 1 << 5 | 1)
"""Time and date of every member, 1980-01-01 00:00, so that the zip's bytes depend on the members alone."""

_LARGEST_32, _LARGEST_16 = 2**32 - 1, 2**16 - 1
"""From these on, a number is written into a 64-bit field, and this in its place."""


def stored_zip(members: Iterable[Member]) -> Iterator[bytes]:
    """The bytes of a zip of `members`, few of them small."""
    buffer = bytearray()
    for piece in _pieces(members):
        if len(buffer) + len(piece) > _CHUNK:
            yield bytes(buffer)
            buffer.clear()
        if len(piece) >= _CHUNK:
            yield piece
        else:
            buffer += piece
    yield bytes(buffer)


def _pieces(members: Iterable[Member]) -> Iterator[bytes]:
    offset = count = 0
    with Spool() as contents:
        for member in members:
            name, size, crc = member.path.encode(), member.size, member.crc
            local = _local_header(name, size, crc)
            yield local
            yield from member.chunks()
            contents.write(_central_header(name, size, crc, offset))
            offset += len(local) + size
            count += 1
        yield from contents.chunks()
        yield _end(count, contents.size, offset)


def _local_header(name: bytes, size: int, crc: int) -> bytes:
    if size < _LARGEST_32:
        return _LOCAL.pack(b"PK\3\4", _PLAIN, _UTF_8_NAMES, 0, *_MODIFIED, crc, size, size, len(name), 0) + name
    extra = struct.pack("<2H2Q", 1, 16, size, size)
    fields = (_WITH_64_BITS, _UTF_8_NAMES, 0, *_MODIFIED, crc, _LARGEST_32, _LARGEST_32, len(name), len(extra))
    return _LOCAL.pack(b"PK\3\4", *fields) + name + extra


def _central_header(name: bytes, size: int, crc: int, offset: int) -> bytes:
    large = [size, size] if size >= _LARGEST_32 else []
    large += [offset] if offset >= _LARGEST_32 else []
    extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    version = _WITH_64_BITS if large else _PLAIN
    size, offset = min(size, _LARGEST_32), min(offset, _LARGEST_32)
    fields = (_MADE_ON_UNIX | version, version, _UTF_8_NAMES, 0, *_MODIFIED, crc, size, size)
    return _CENTRAL.pack(b"PK\1\2", *fields, len(name), len(extra), 0, 0, 0, _MODE, offset) + name + extra


def _end(count: int, size: int, offset: int) -> bytes:
    """What ends the zip: `count` entries in `size` bytes of contents, which begin at `offset`."""
    few = min(count, _LARGEST_16)
    end = _END.pack(b"PK\5\6", 0, 0, few, few, min(size, _LARGEST_32), min(offset, _LARGEST_32), 0)
    if count < _LARGEST_16 and size < _LARGEST_32 and offset < _LARGEST_32:
        return end
    version = _WITH_64_BITS
    rest = _END_64.size - 12
    end_64 = _END_64.pack(b"PK\6\6", rest, _MADE_ON_UNIX | version, version, 0, 0, count, count, size, offset)
    return end_64 + _LOCATOR_64.pack(b"PK\6\7", 0, offset + size, 1) + end
