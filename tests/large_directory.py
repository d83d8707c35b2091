"""A zip whose list of members is larger than its last record says."""

import io
import struct
import zipfile
from typing import Any

import pytest


def zip_of_hidden_directory(members: int) -> bytes:
    """Only the ZIP64 record tells the directory's size, and data of its own keep it away from its usual place."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(members):
            archive.writestr(f"{number:04d}.png", b"")
    whole = buffer.getvalue()
    size, offset = struct.unpack("<LL", whole[-10:-2])
    own = bytes(70_000)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44 + len(own), 45, 45, 0, 0, members, members, size, offset) + own
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(whole) - 22, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 46, 0xFFFFFFFF, 0)
    return whole[:-22] + record + locator + end


def read_as_newer_pythons_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `zipfile` follow the locator to the ZIP64 record, and make no entry of the list."""

    def follow(file: Any, offset: int, end: list[Any]) -> list[Any]:
        file.seek(offset - 20, 2)
        place = struct.unpack("<4sLQL", file.read(20))[2]
        file.seek(place)
        record = struct.unpack("<4sQ2H2L4Q", file.read(56))
        # From the number of entries on; `zipfile` infers where the list begins from where the records should be.
        end[3:7] = record[6:10]
        end[9] = place
        return end

    def made(*_: object) -> None:
        raise AssertionError("an entry of the list was made")

    monkeypatch.setattr(zipfile, "_EndRecData64", follow, raising=False)
    monkeypatch.setattr(zipfile.ZipInfo, "__init__", made)
