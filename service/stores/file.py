"""Objects as files in one directory: the default store, for one machine."""

import errno
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, BinaryIO, cast

from service.stores.keys import check_folder, check_key, check_prefix, check_range
from service.stores.protocol import InvalidKey, ObjectMissing, StoredObject, StoreFull, StoreUnavailable

_INCOMING = ".incoming"
_STALE_AFTER = timedelta(hours=1)
_CHUNK = 1 << 20


class FileStore:
    """A `Store` of files under `root`, which is made if need be.

    An object is first written under `root/.incoming`, synced, and then renamed into place. No key can name that folder,
    so `list` never shows a half-written object. Symbolic links are not followed.
    """

    def __init__(self, root: Path) -> None:
        """Raises `StoreUnavailable` if there is no such directory and none can be made."""
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._root = root.resolve(strict=True)
            self._incoming = self._root / _INCOMING
            self._incoming.mkdir(exist_ok=True)
        except OSError as error:
            raise _unavailable(error) from error
        self.drop_unfinished(_STALE_AFTER)

    def put(self, key: str, data: bytes | BinaryIO) -> int:
        """See `Store.put`."""
        target = self._path(key)
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        with _translated():
            self._incoming.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self._incoming, delete=False) as temporary:
                unfinished = Path(temporary.name)
                try:
                    size = _copy(source, temporary)
                    temporary.flush()
                    os.fsync(temporary.fileno())
                    unfinished.chmod(0o644)
                    self._rename(unfinished, target)
                except BaseException:
                    unfinished.unlink(missing_ok=True)
                    raise
            return size

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """See `Store.open`."""
        check_range(start, end)
        path = self._path(key)
        with _translated(key):
            if not path.is_file():
                raise ObjectMissing(key)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            file = io.FileIO(descriptor, "r")
        if start == 0 and end is None:
            return io.BufferedReader(file)
        file.seek(start)
        window = _Window(file, None if end is None else max(0, end - start))
        return cast(BinaryIO, io.BufferedReader(window))

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        with self.open(key) as stream, _translated(key):
            return stream.read()

    def size(self, key: str) -> int:
        """See `Store.size`."""
        path = self._path(key)
        with _translated(key):
            if not path.is_file():
                raise ObjectMissing(key)
            return path.stat().st_size

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        path = self._path(key)
        with _translated():
            return path.is_file()

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `Store.list`. Holds the names of one folder at a time."""
        check_prefix(prefix)
        folder, _, beginning = prefix.rpartition("/")
        if (start := self._folder(folder)) is not None:
            yield from self._walk(start, f"{folder}/" if folder else "", beginning)

    def folders(self, prefix: str) -> Iterator[str]:
        """See `Store.folders`."""
        if (folder := self._folder(check_folder(prefix))) is not None:
            for name, _ in _names(folder):
                if name.endswith("/"):
                    yield name.removesuffix("/")

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        path = self._path(key)
        with _translated():
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
                path.unlink()
            if path.is_file():
                raise StoreUnavailable("the store's directory is not writable")
            self._prune(path.parent)

    def delete_prefix(self, prefix: str) -> int:
        """See `Store.delete_prefix`."""
        check_folder(prefix)
        count = 0
        for found in list(self.list(prefix)):
            self.delete(found.key)
            count += 1
        return count

    def drop_unfinished(self, older_than: timedelta) -> int:
        """See `Store.drop_unfinished`. A put counts from when it last wrote. Opening the store does this, too."""
        limit, count = time.time() - older_than.total_seconds(), 0
        with _translated():
            for leftover in self._incoming.iterdir():
                with suppress(FileNotFoundError):
                    if leftover.stat().st_mtime < limit:
                        leftover.unlink()
                        count += 1
        return count

    def presign(self, key: str, filename: str, expires_s: int = 3600) -> str | None:  # noqa: ARG002
        """None: a file has no URL of its own."""
        check_key(key)
        return None

    def _path(self, key: str) -> Path:
        path = self._root / check_key(key)
        if path.parent.resolve() != path.parent or path.is_symlink():
            raise InvalidKey("the key leads through a symbolic link")
        return path

    def _rename(self, unfinished: Path, target: Path) -> None:
        while True:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                unfinished.replace(target)
                break
            except FileNotFoundError:
                # A delete has just pruned the emptied folder between the two calls.
                if not unfinished.exists():
                    raise
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise InvalidKey("the key names a folder of other keys, or lies below another key") from None
        _sync_folder(target.parent)

    def _folder(self, name: str) -> Path | None:
        """Where the keys below `name` lie; None if that is beyond a link."""
        with _translated():
            if not self._root.is_dir():
                raise StoreUnavailable("the store's directory is gone")
        folder = self._root / name
        return folder if folder.resolve() == folder else None

    def _walk(self, folder: Path, key: str, beginning: str) -> Iterator[StoredObject]:
        for name, entry in _names(folder):
            if not name.startswith(beginning):
                continue
            if name.endswith("/"):
                yield from self._walk(folder / entry.name, key + name, "")
            elif entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    yield StoredObject(key + name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def _prune(self, folder: Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


def _names(folder: Path) -> list[tuple[str, os.DirEntry[str]]]:
    """What is in a folder, in the order of the whole strings of keys: a folder sorts as `name/`."""
    try:
        with _translated(), os.scandir(folder) as entries:
            named = [(entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in entries]
    except ObjectMissing:
        return []
    return sorted(((name, entry) for name, entry in named if not name.startswith(".")), key=lambda pair: pair[0])


class _Window(io.RawIOBase):
    """The next `remaining` bytes of a file, or all of them."""

    def __init__(self, file: io.FileIO, remaining: int | None) -> None:
        self._file = file
        self._remaining = remaining

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = len(buffer) if self._remaining is None else min(len(buffer), self._remaining)
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        if self._remaining is not None:
            self._remaining -= len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _copy(source: BinaryIO, target: IO[bytes]) -> int:
    """Bytes copied. An `OSError` of the reader is the caller's own and passes through untranslated."""
    size = 0
    while True:
        try:
            chunk = source.read(_CHUNK)
        except OSError as error:
            raise _ReaderFailed from error
        if not chunk:
            return size
        target.write(chunk)
        size += len(chunk)


class _ReaderFailed(Exception):
    """Carries the reader's own `OSError` past the translation of ours."""


def _sync_folder(folder: Path) -> None:
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _translated(key: str = "") -> Iterator[None]:
    """Turn the operating system's errors into the project's."""
    try:
        yield
    except _ReaderFailed as error:
        raise cast(OSError, error.__cause__) from None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ObjectMissing(key) from error
    except OSError as error:
        raise _unavailable(error) from error


def _unavailable(error: OSError) -> StoreUnavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull("the disk of the store's directory is full")
    return StoreUnavailable(f"the store's directory cannot be used: {os.strerror(error.errno or 0)}")
