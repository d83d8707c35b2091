"""Zips: read by others, the same every time, without limits of size, and never held in memory."""

import io
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from workers.formats.members import Member, Spool
from workers.formats.stored_zip import stored_zip

ZEROS = bytes(2**26)


def members(count: int, size: int = 50) -> Iterator[Member]:
    return (Member.of(f"folder/{index:09d}.bin", bytes([index % 256]) * (index % size)) for index in range(count))


def zipped(count: int, size: int = 50) -> bytes:
    return b"".join(stored_zip(members(count, size)))


def test_it_holds_what_went_in() -> None:
    with Spool() as spool, zipfile.ZipFile(io.BytesIO(b"".join(stored_zip(three(spool))))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.txt", "ü.txt", "empty"]
        assert archive.read("ü.txt") == b"before" + bytes(3 * 2**20) + b"after"
        assert archive.read("empty") == b""
        for info in archive.infolist():
            assert (info.compress_type, info.flag_bits & 0x08) == (zipfile.ZIP_STORED, 0)  # sizes stand in front
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.external_attr >> 16 == 0o100644


def three(spool: Spool) -> Iterator[Member]:
    yield Member.of("a.txt", b"a")
    for _ in range(3):
        spool.write(bytes(2**20))
    yield Member.of("ü.txt", b"before", spool, b"after")
    yield Member.of("empty")


def test_the_same_members_give_the_same_bytes() -> None:
    assert zipped(40) == zipped(40)


def test_more_members_than_16_bits_can_count(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(66_000, size=3))
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert len(archive.namelist()) == 66_000
        assert archive.testzip() is None


@dataclass
class Vast:
    """A member of more bytes than 32 bits can count, all of them zero."""

    path: str = "vast.bin"
    size: int = 65 * len(ZEROS)
    crc: int = 0

    def chunks(self) -> Iterator[bytes]:
        return (ZEROS for _ in range(65))


def test_more_bytes_than_32_bits_can_count(tmp_path: Path) -> None:
    """The zeros become a hole of the file."""
    with (tmp_path / "x.zip").open("wb") as file:
        for piece in stored_zip([Vast(), Member.of("behind.txt", b"behind"), Vast("last.bin")]):  # type: ignore[list-item]
            if piece is ZEROS:
                file.seek(len(piece), 1)
            else:
                file.write(piece)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.read("behind.txt") == b"behind"
        assert [info.file_size for info in archive.infolist()] == [Vast.size, 6, Vast.size]
        with archive.open("last.bin") as last:
            assert last.read(100) == bytes(100)


def test_memory_grows_neither_with_bytes_nor_with_members() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in stored_zip(members(count, size=500)):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few = peak(8_000)
    assert peak(20_000) < few + 1.5 * 2**20
    assert few < 8 * 2**20


def test_the_checksum_is_that_of_all_pieces() -> None:
    with Spool() as spool:
        spool.write(b"cd")
        member = Member.of("x", b"ab", spool, b"ef")
        assert (member.size, member.crc) == (6, zlib.crc32(b"abcdef"))


def test_a_failing_member_fails_the_zip() -> None:
    def broken() -> Iterator[Member]:
        yield Member.of("a", b"a")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        list(stored_zip(broken()))
