"""Whatever happens, the user gets a stable code and safe words."""

import pytest
import redis.exceptions
from rq.timeouts import JobTimeoutException

from service.locks import LockBusy
from service.stores.protocol import ObjectMissing, StoreFull, StoreUnavailable
from workers.public_errors import JobFailure, public_error


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("a\ud800b\x1b[2J\nc.png is bad", "a�b�[2J�c.png is bad"),
        ("x" * 10_000, "x" * 3999 + "…"),
    ],
    ids=["unprintable", "long"],
)
def test_names_from_files_cannot_spoil_a_failure(message: str, told: str) -> None:
    failure = JobFailure("import-refused", message)
    assert (str(failure), failure.error.message) == (told, told)
    assert told in failure.error.model_dump_json()


@pytest.mark.parametrize(
    ("exc", "code", "retry"),
    [
        (JobFailure("fit-failed", "none of the seeds fits"), "fit-failed", False),
        (JobTimeoutException("Task exceeded maximum timeout value (3600 seconds)"), "timeout", False),
        (ObjectMissing("projects/secret/project.json"), "object-missing", False),
        (MemoryError(), "out-of-memory", True),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate secret"), "out-of-memory", True),
        (LockBusy("secret"), "busy", True),
        (redis.exceptions.ConnectionError("secret:6379 refused"), "redis-unavailable", True),
        (StoreUnavailable("secret-bucket"), "store-unavailable", True),
        (StoreFull("the disk of secret is full"), "store-full", True),
        (OSError(28, "No space left on device", "/secret"), "store-unavailable", True),
        (ZeroDivisionError("secret"), "internal", True),
    ],
)
def test_every_exception_has_a_public_face(exc: Exception, code: str, retry: bool) -> None:
    error = public_error(exc)
    assert (error.code, error.retry) == (code, retry)
    assert "secret" not in error.message
    assert error.message.endswith(".") or isinstance(exc, JobFailure)
