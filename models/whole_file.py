"""Files that are there as a whole or not at all."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when the context is left without an exception, also through a
    power cut; else `path` stays as it was. Its `name` may be given to what writes files by their path.

    Raises `OSError` with the name of `path` if it cannot be written, whatever a library made of that.
    """
    partial = partial_of(path)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if refusal := _refusal(error):
            raise OSError(refusal, os.strerror(refusal), str(path)) from error
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)  # a rename lasts once its folder is written, too
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial_of(path: Path) -> Path:
    """What `path` is called until it is whole. It stays where a process is killed meanwhile, until the next one."""
    return path.with_name(f".{path.name}.partial")


def _refusal(error: BaseException) -> int:
    """The number of the system's refusal to write that came to this exception, or 0 if it came of something else."""
    if isinstance(error, OSError):
        # With other numbers it may be of what is read meanwhile.
        return error.errno if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else 0
    if isinstance(error, SafetensorError):  # which has it in words
        found = re.search(r"\(os error (\d+)\)", str(error))
        return int(found[1]) if found else 0
    before = error.__context__
    if isinstance(error, RuntimeError) and isinstance(before, OSError):  # torch's, raised while it handles the other
        return before.errno or 0
    return 0
