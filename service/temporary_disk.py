"""The disk that uploads lie on while they are looked at, and what is said when it is full."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from service.problems import Problem

_log = structlog.get_logger(__name__)


@contextmanager
def temporary_disk() -> Iterator[None]:
    """Turns an `OSError` of a full disk into a `Problem` (503). Put it around the file's whole life.

    Closing a file writes what its buffer still holds, and raises once more.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _log.error("temporary disk full", folder=tempfile.gettempdir())
        detail = (
            "The disk on which uploads are looked at is full. Nothing was kept. Whoever runs the service has to make "
            "room on it, or have TMPDIR name a folder of another one."
        )
        raise Problem(503, "temp-full", "Temporary disk full", detail) from error
