"""Lets one process at a time train in a folder: two would mix their checkpoints."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FolderBusy(ValueError):
    """Another process trains in the folder; the message names it."""


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is created when missing, until the context or this process ends. Raises `FolderBusy`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{folder} is being trained by another process; wait for its end, or train in another folder"
            raise FolderBusy(message) from None
        yield
