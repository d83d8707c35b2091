"""What every object store offers, whatever lies behind it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Protocol


class ObjectMissing(KeyError):
    """No object has this key. `args[0]` is the key."""


class InvalidKey(ValueError):
    """The key is not a relative POSIX path of plain parts, or names a folder of other keys."""


class StoreUnavailable(Exception):
    """The store cannot serve this call now: unreachable, full, misconfigured or forbidden.

    The message is safe to show: it names no credentials and no paths of the machine.
    """


class StoreFull(StoreUnavailable):
    """There is no room for what was to be written."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One row of `Store.list`."""

    key: str
    size: int
    modified: datetime


class Store(Protocol):
    """A flat map from keys to byte strings.

    Keys are relative POSIX paths (`jobs/abc/job.json`) without `.` or `..` parts. An object is written whole or not at
    all: a reader sees the old bytes or the new ones, never a mixture. What a writer that died had written until then is
    never seen, and takes space until `drop_unfinished` removes it.

    Every call may raise `InvalidKey` and `StoreUnavailable`.
    """

    def put(self, key: str, data: bytes | BinaryIO) -> int:
        """Store `data` under `key`, replacing what was there. A stream is read to its end and need not seek.

        Returns the number of bytes stored. If reading the stream raises, nothing is stored.
        """
        ...

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """A readable binary stream of bytes `start` (inclusive) to `end` (exclusive). Raises `ObjectMissing`."""
        ...

    def read(self, key: str) -> bytes:
        """The whole object, for small ones. Raises `ObjectMissing`."""
        ...

    def size(self, key: str) -> int:
        """Bytes in the object. Raises `ObjectMissing`."""
        ...

    def exists(self, key: str) -> bool:
        """Whether an object has this key."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in key order, without holding them all in memory."""
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """The next part of every key below `prefix`, which must end in `/`, where that part is not the key's last.

        Each comes once, without looking at what is below it, in key order: `a-b` before `a`, since `a-b/` is before
        `a/`. One that was emptied just now may still be among them.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; deleting a missing one is no error."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Remove every object under `prefix`, which must end in `/`. Returns how many there were."""
        ...

    def drop_unfinished(self, older_than: timedelta) -> int:
        """Remove what writers that died had written, of puts that began longer ago than any put may take.

        Returns of how many puts.
        """
        ...

    def presign(self, key: str, filename: str, expires_s: int = 3600) -> str | None:
        """A URL that lets anyone download the object as `filename` for a while, or None if the API must stream it."""
        ...
