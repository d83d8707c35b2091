"""Archive names: whatever passes is harmless."""

import io
import unicodedata
import zipfile
from contextlib import suppress
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.archive import Archive, ArchiveLimits
from service.seed_files import FOLDERS
from service.uploads import UploadDamaged, name_complaint
from tests.large_directory import read_as_newer_pythons_do, zip_of_hidden_directory
from tests.service.uploads import without_utf_8_flag, zipped

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


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("is_flagged", [True, False])
def test_names_are_those_that_their_sender_sees(form: str, is_flagged: bool) -> None:
    """Info-ZIP and the Finder write UTF-8 without saying so, and the Finder takes letters apart."""
    paths = ["images/bär.png", "images/熊.png", "images/" + "é" * 200 + ".png"]
    data = zipped({unicodedata.normalize(form, path): b"hello" for path in paths[: 3 if form == "NFC" else 2]})
    archive = Archive(io.BytesIO(data if is_flagged else without_utf_8_flag(data)), LIMITS, FOLDERS)
    assert archive.complaints == []
    assert [file.path for file in archive.files] == paths[: len(archive.files)]
    with archive.files[0].open() as stream:
        assert stream.read() == b"hello"


def test_names_in_the_letters_of_dos_are_read_as_before() -> None:
    data = without_utf_8_flag(zipped({"images/bÄÄr.png": b""})).replace("ÄÄ".encode(), b"\x8e\x8e\x8e\x8e")
    archive = Archive(io.BytesIO(data), LIMITS, FOLDERS)
    assert [file.path for file in archive.files] == ["images/bÄÄÄÄr.png"]


@pytest.mark.parametrize("name", ["images/a\u202egnp.png", "images/a\x85.png", "images/a\0.png"])
def test_a_name_is_checked_as_it_is_read(name: str) -> None:
    # `writestr` ends a name at a NUL.
    data = without_utf_8_flag(zipped({name.replace("\0", "~"): b""})).replace(b"~", b"\0")
    archive = Archive(io.BytesIO(data), LIMITS)
    assert [complaint.message for complaint in archive.complaints] == ["its name holds control characters"]
    assert archive.files == []


def test_of_two_names_the_one_that_is_used_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer Pythons take a name in Unicode that stands beside the other."""
    read = zipfile.ZipFile._RealGetContents  # type: ignore[attr-defined]

    def with_another_name(archive: zipfile.ZipFile) -> None:
        read(archive)
        archive.filelist[0].filename = "../evil.png"
        archive.filelist[1].filename = "images/bär.png"

    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", with_another_name)
    archive = Archive(io.BytesIO(zipped({"images/a.png": b"", "images/b.png": b""})), LIMITS, FOLDERS)
    assert [complaint.file for complaint in archive.complaints] == ["../evil.png"]
    assert [file.path for file in archive.files] == ["images/bär.png"]


def test_real_bytes_are_counted_over_all_members() -> None:
    """Reading the same members again and again ends at the limit, too."""
    archive = Archive(io.BytesIO(zipped({"a": b"x" * 4000, "b": b"y" * 4000})), LIMITS)
    assert archive.complaints == []
    for file in archive.files:
        with file.open() as stream:
            assert len(stream.read()) == 4000
    with pytest.raises(UploadDamaged, match="unpacks to more than 10000 bytes"), archive.files[0].open():
        pass
