"""Folders that several processes of a machine share: none is removed while somebody holds it.

The kernel keeps the locks, so that a process that dies lets go of its own.
"""

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Keep others from removing a folder, and note that it was used now.

    Yields whether it is there. Waits for a removal that has begun, which takes no longer than a renaming.
    """
    with _locked(folder, fcntl.LOCK_SH) as there:
        if there:
            os.utime(folder)
        yield there


def remove_unheld(folder: Path, aside: str, unused_s: float = 0.0) -> None:
    """Remove a folder that nobody holds and that nobody has held for so many seconds; leave any other.

    Args:
        aside: how the name begins under which it lies beside its place while it is removed. What a process that dies
            meanwhile leaves there is the caller's to clear away.
    """
    with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB) as there:
        if not there or time.time() - folder.stat().st_mtime < unused_s:
            return
        # Under its own name it is never seen half empty.
        doomed = folder.rename(folder.with_name(aside + secrets.token_hex(8)))
    shutil.rmtree(doomed, ignore_errors=True)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[bool]:
    """Whether the folder is there and the lock was had."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        descriptor = None
    if descriptor is None:
        yield False
        return
    try:
        yield _took(descriptor, how) and _is_at(descriptor, folder)
    finally:
        os.close(descriptor)


def _took(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, folder: Path) -> bool:
    """Whether it still has its name: it may have been removed, and another one made, before the lock was had."""
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False
