"""Archive names: whatever passes is harmless."""

import io
import zipfile
from contextlib import suppress
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.archive import Archive, ArchiveLimits
from service.uploads import UploadDamaged, name_complaint
from tests.large_directory import read_as_newer_pythons_do, zip_of_hidden_directory
from tests.service.uploads import zipped

LIMITS = ArchiveLimits(members=100, unpacked_bytes=10_000)


@given(st.text(alphabet="aé./\\:C\0\n ‮", max_size=10) | st.text(max_size=20))
def test_a_name_that_passes_is_a_plain_relative_path(name: str) -> None:
    if name_complaint(name) is not None:
        return
    path = PurePosixPath(name)
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert not PureWindowsPath(name).is_absolute()
    assert PureWindowsPath(name).drive == ""
    assert "\\" not in name
    assert name.isprintable() or not any(ord(c) < 32 for c in name)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_zip_or_a_complaint(data: bytes) -> None:
    archive = Archive(io.BytesIO(data), LIMITS)
    assert archive.complaints or archive.files == []


@given(st.data())
def test_a_zip_with_one_byte_changed_never_surprises(data: st.DataObject) -> None:
    whole = bytearray(zipped({"images/a.png": b"hello" * 20, "project.json": b"{}"}))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    archive = Archive(io.BytesIO(bytes(whole)), LIMITS)
    for file in archive.files:
        with suppress(UploadDamaged), file.open() as stream:
            assert len(stream.read()) <= LIMITS.unpacked_bytes


def from_a_mac(files: int, droppings: int) -> Archive:
    names = [f"seeds/images/{number}.png" for number in range(files)]
    names += [f"__MACOSX/seeds/images/._{number}.png" for number in range(droppings)]
    return Archive(io.BytesIO(zipped(dict.fromkeys(names, b"-"))), LIMITS)


def test_what_a_file_manager_adds_is_not_counted() -> None:
    full = from_a_mac(LIMITS.members, LIMITS.members)
    assert full.complaints == []
    assert [file.path for file in full.files] == [f"images/{number}.png" for number in range(LIMITS.members)]
    for too_many in (from_a_mac(LIMITS.members + 1, 0), from_a_mac(1, 2 * LIMITS.members)):
        assert [complaint.message for complaint in too_many.complaints] == ["it holds more than 100 members"]
        assert too_many.files == []


def test_a_list_of_too_many_members_is_not_read_wherever_its_size_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zip_of_hidden_directory(9000)
    read_as_newer_pythons_do(monkeypatch)
    archive = Archive(io.BytesIO(data), LIMITS)
    assert [complaint.message for complaint in archive.complaints] == ["it holds more than 100 members"]
    assert archive.files == []


def test_a_zip_with_a_long_comment_is_read() -> None:
    buffer = io.BytesIO(zipped({"images/a.png": b"hello"}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"words " * 10_000
    assert Archive(buffer, ArchiveLimits(members=1, unpacked_bytes=100)).complaints == []


def test_real_bytes_are_counted_over_all_members() -> None:
    """Reading the same members again and again ends at the limit, too."""
    archive = Archive(io.BytesIO(zipped({"a": b"x" * 4000, "b": b"y" * 4000})), LIMITS)
    assert archive.complaints == []
    for file in archive.files:
        with file.open() as stream:
            assert len(stream.read()) == 4000
    with pytest.raises(UploadDamaged, match="unpacks to more than 10000 bytes"), archive.files[0].open():
        pass
