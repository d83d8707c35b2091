"""Zips whose list of members is measured while it is read: `zipfile` makes an object of every entry at once."""

import io
import zipfile
from typing import IO, BinaryIO, cast

_END_BYTES = 2**18
"""More than is read at the end of a zip to find its directory, comments included."""


class DirectoryTooLarge(Exception):
    """The list of a zip's members takes more bytes than were allowed."""


def open_zip(file: BinaryIO, directory_bytes: int) -> zipfile.ZipFile:
    """The zip in a seekable file, which has to stay open as long as the zip is used.

    What the zip says of its size, and where, does not matter: what counts is what `zipfile` reads on opening.

    Raises:
        DirectoryTooLarge: the list of its members takes more than `directory_bytes`, by about a quarter MiB at most.
        zipfile.BadZipFile: it is no zip, or damaged. `zipfile` raises ValueError, EOFError, OSError, RuntimeError and
            NotImplementedError as well.
    """
    rationed = _RationedFile(file, directory_bytes + _END_BYTES)
    opened = zipfile.ZipFile(cast("IO[bytes]", rationed))
    rationed.ration = None
    return opened


class _RationedFile:
    """A file that hands out no more than `ration` bytes in all; any number when that is None."""

    def __init__(self, file: BinaryIO, ration: int | None) -> None:
        self.ration = ration
        self._file = file

    def read(self, count: int | None = -1) -> bytes:
        if self.ration is None:
            return self._file.read(-1 if count is None else count)
        if count is not None and count > self.ration:
            raise DirectoryTooLarge
        data = self._file.read(self.ration + 1 if count is None or count < 0 else count)
        self.ration -= len(data)
        if self.ration < 0:
            raise DirectoryTooLarge
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True
