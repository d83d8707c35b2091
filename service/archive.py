"""Reading a zip that a stranger sent, without ever extracting it to the names it gives."""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from service.problems import Complaint
from service.temporary_disk import temporary_disk
from service.uploads import (
    UploadDamaged,
    UploadedFile,
    composed,
    duplicate_complaints,
    is_ignored,
    name_complaint,
    shown,
    without_common_folder,
)
from untrusted.zips import DirectoryTooLarge, open_zip

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_UTF_8 = 0x800
_SUSPICIOUS_BYTES = 2**20
_SUSPICIOUS_RATIO = 200
_CHUNK = 1 << 18
_DIRECTORY_BYTES_PER_MEMBER = 1024
# A Mac adds one file to each that it zips.
_WITH_DROPPINGS = 2
_IN_MEMORY = 4 * 2**20


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much an archive may hold."""

    members: int
    """Members, folders included, and file managers' droppings left out; with those, twice as many."""
    unpacked_bytes: int
    """Bytes of all members together, both as the archive declares them and as they come out."""


class Archive:
    """A zip, checked on opening.

    `complaints` says everything that is wrong with it. `refused` is whether it was not looked into at all, so that
    nothing can be said of what it holds or lacks. `files` are the members that are sound as far as one can tell
    without unpacking them, in the archive's order, without folders, file managers' droppings and one common top folder.
    """

    def __init__(self, stream: BinaryIO, limits: ArchiveLimits, known_folders: frozenset[str] = frozenset()) -> None:
        """`stream` must be seekable, and open as long as the files are used."""
        self.complaints: list[Complaint] = []
        self.files: list[UploadedFile] = []
        self.refused = True
        self._left = limits.unpacked_bytes
        self._limits = limits
        try:
            self._zip = open_zip(stream, _WITH_DROPPINGS * limits.members * _DIRECTORY_BYTES_PER_MEMBER)
        except DirectoryTooLarge:
            self._complain_of_members()
            return
        except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, RuntimeError):
            self.complaints.append(
                Complaint(field="archive", message="it is not a zip, or it is cut off", remedy="send a complete zip")
            )
            return
        members = self._zip.infolist()
        if self._is_too_much(members):
            return
        self.refused = False
        paths = [_path(member) for member in members]
        named = []
        for path, member in zip(paths, members, strict=True):
            complaints = list(_member_complaints(path, member))
            self.complaints += complaints
            if not complaints and not member.is_dir() and not is_ignored(path):
                named.append((path, member))
        self.complaints += duplicate_complaints(path for path in paths if not is_ignored(path))
        top = without_common_folder((path for path, _ in named), known_folders)
        self.files = [UploadedFile(path.removeprefix(top), partial(self._open, member)) for path, member in named]

    def _is_too_much(self, members: list[zipfile.ZipInfo]) -> bool:
        meant = sum(not is_ignored(member.filename) for member in members)
        if meant > self._limits.members or len(members) > _WITH_DROPPINGS * self._limits.members:
            self._complain_of_members()
        elif sum(member.file_size for member in members) > self._limits.unpacked_bytes:
            message = f"it unpacks to more than {self._limits.unpacked_bytes} bytes"
            self.complaints.append(Complaint(field="archive", message=message, remedy="send smaller images"))
        return bool(self.complaints)

    def _complain_of_members(self) -> None:
        message = f"it holds more than {self._limits.members} members"
        remedy = "send the seeds of one project only"
        self.complaints.append(Complaint(field="archive", message=message, remedy=remedy))

    @contextmanager
    def _open(self, member: zipfile.ZipInfo) -> Iterator[BinaryIO]:
        with temporary_disk(), SpooledTemporaryFile(max_size=_IN_MEMORY) as unpacked:
            for chunk in self._chunks(member):
                unpacked.write(chunk)
            unpacked.seek(0)
            yield cast(BinaryIO, unpacked)

    def _chunks(self, member: zipfile.ZipInfo) -> Iterator[bytes]:
        """The bytes of a member. Raises `UploadDamaged`."""
        try:
            with self._zip.open(member) as packed:
                while chunk := packed.read(_CHUNK):
                    self._left -= len(chunk)
                    if self._left < 0:
                        raise UploadDamaged(f"the archive unpacks to more than {self._limits.unpacked_bytes} bytes")
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError):
            raise UploadDamaged("it is damaged inside the archive") from None


def _path(member: zipfile.ZipInfo) -> str:
    """A member's name as its sender wrote it."""
    # `filename` ends at the first NUL; what the archive says is in `orig_filename`.
    told = member.orig_filename
    if member.filename != told.partition("\0")[0]:
        # Newer Pythons prefer a name in Unicode that stands beside the other.
        told = member.filename
    elif not member.flag_bits & _UTF_8:
        # Some programs write UTF-8 without saying so, and `zipfile` takes it for the letters of DOS.
        with suppress(UnicodeError):
            told = told.encode("cp437").decode()
    return composed(told)


def _member_complaints(path: str, member: zipfile.ZipInfo) -> Iterator[Complaint]:
    if complaint := name_complaint(path):
        yield complaint
    file = shown(path)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "a device or another special file"
        yield Complaint(file=file, message=f"it is {what}", remedy="send plain files")
    if member.flag_bits & _ENCRYPTED:
        yield Complaint(file=file, message="it is encrypted", remedy="send the zip without a password")
    if member.compress_type not in _METHODS:
        yield Complaint(file=file, message="its compression is not supported", remedy="zip with deflate, or stored")
    if member.file_size > max(_SUSPICIOUS_BYTES, member.compress_size * _SUSPICIOUS_RATIO):
        yield Complaint(
            file=file,
            message=f"it declares more than {_SUSPICIOUS_RATIO} times its packed size",
            remedy="send images as PNG or JPEG, which are compressed already",
        )
