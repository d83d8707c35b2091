"""Where training images come from: a folder, or a zip that a stranger sent. Nothing is ever unpacked to disk."""

import hashlib
import os
import stat
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from untrusted.pictures import MAX_BYTES, PictureRefused
from untrusted.zips import DirectoryTooLarge, open_zip

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_MEMBERS = 200_000
MAX_UNPACKED_BYTES = 256 * 2**30

_MIB = 2**20
_DIRECTORY_BYTES_PER_MEMBER = 256
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


class SourceRefused(ValueError):
    """No images can be taken from there; the message says why, and what to do."""


@dataclass(frozen=True)
class _Names:
    """names: of the pictures, by their suffix, in order. ignored: how many other files are there."""

    names: list[str]
    ignored: int


class ImageSource(Protocol):
    """names: of all pictures. ignored: how many other files there are."""

    names: list[str]
    ignored: int

    def key(self) -> str:
        """A hash that changes with the bytes of every picture."""

    def read(self, name: str) -> bytes:
        """The bytes of one picture. Raises `PictureRefused` if they cannot be had."""


def open_source(path: Path) -> ImageSource:
    """The images of a folder and its subfolders, or of a zip.

    Raises:
        SourceRefused: neither, or a zip that is damaged, or too large to be what it says.
    """
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        return ZipSource(path)
    raise SourceRefused(f"{path}: neither a folder nor a zip of images")


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _is_hidden(name: str) -> bool:
    """What file managers leave behind is nobody's picture."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part.startswith(".") and part != ".." for part in parts)


def _sorted_names(names: Iterator[str]) -> _Names:
    pictures, ignored = [], 0
    for name in names:
        if _is_picture(name) and not _is_hidden(name):
            pictures.append(name)
        elif not _is_hidden(name):
            ignored += 1
    return _Names(sorted(pictures), ignored)


class FolderSource:
    """Every picture below a folder, by its path from there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = _sorted_names(self._files())
        self.names, self.ignored = found.names, found.ignored

    def _files(self) -> Iterator[str]:
        for directory, _, files in os.walk(self.folder):
            for file in files:
                yield (Path(directory) / file).relative_to(self.folder).as_posix()

    def key(self) -> str:
        """See `ImageSource`."""
        digest = hashlib.sha256()
        for name in self.names:
            path = self.folder / name
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
            try:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError:
                digest.update(b"unreadable")
        return digest.hexdigest()

    def read(self, name: str) -> bytes:
        """See `ImageSource`."""
        path = self.folder / name
        try:
            if not path.is_file():
                raise PictureRefused("it is not a plain file", "copy the picture itself there")
            if path.stat().st_size > MAX_BYTES:
                raise PictureRefused(f"it is larger than {MAX_BYTES // _MIB} MiB", "save it as JPEG")
            return path.read_bytes()
        except OSError as error:
            raise PictureRefused(f"it cannot be read ({error.strerror})", "check its permissions") from None


class ZipSource:
    """Every picture in a zip, by its name there. Names are only shown, never used as paths."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            file = path.open("rb")
            weakref.finalize(self, file.close)
            self._zip = open_zip(file, MAX_MEMBERS * _DIRECTORY_BYTES_PER_MEMBER)
        except DirectoryTooLarge:
            raise SourceRefused(f"{path.name}: it holds more than {MAX_MEMBERS} files; send fewer images") from None
        except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, RuntimeError):
            raise SourceRefused(f"{path.name}: it is not a zip, or it is cut off; send a complete zip") from None
        members = [member for member in self._zip.infolist() if not member.is_dir()]
        if len(members) > MAX_MEMBERS:
            raise SourceRefused(f"{path.name}: it holds more than {MAX_MEMBERS} files; send fewer images")
        if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
            raise SourceRefused(f"{path.name}: it unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB; send less")
        self._members = {member.filename: member for member in members}
        found = _sorted_names(iter(self._members))
        self.names, self.ignored = found.names, found.ignored

    def key(self) -> str:
        """See `ImageSource`."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, name: str) -> bytes:
        """See `ImageSource`."""
        member = self._members[name]
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise PictureRefused("it is a link or a special file", "zip plain files")
        if member.flag_bits & _ENCRYPTED:
            raise PictureRefused("it is encrypted", "make the zip without a password")
        if member.compress_type not in _METHODS:
            raise PictureRefused("its compression is not supported", "zip with deflate, or stored")
        if member.file_size > MAX_BYTES:
            raise PictureRefused(f"it is larger than {MAX_BYTES // _MIB} MiB", "save it as JPEG")
        try:
            with self._zip.open(member) as packed:
                # What comes out may be more than what was declared.
                data = packed.read(MAX_BYTES + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError):
            raise PictureRefused("it is damaged inside the zip", "make the zip anew") from None
        if len(data) > MAX_BYTES:
            raise PictureRefused(f"it is larger than {MAX_BYTES // _MIB} MiB", "save it as JPEG")
        return data
