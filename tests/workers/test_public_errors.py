"""Whatever happens, the user gets a stable code and safe words."""

import re

import pytest
import redis.exceptions
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException

from service.locks import LockBusy
from service.queue import TIME_LIMITS, JobQueue
from service.records import JobRecord
from service.requests import EncodeRequest, FitRequest, ImportRequest, TrainRequest
from service.settings import Settings
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


def test_what_took_too_long_names_the_setting_that_limits_it(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = dict.fromkeys(TIME_LIMITS.values())
    limits = {name: 1001 + place for place, name in enumerate(names)}
    queue = JobQueue(redis, settings.model_copy(update=limits))
    upload = {"generator_id": "mine", "name": "Mine", "sha256": "0"}
    parts = {
        "fit_timeout_s": queue.enqueue_job(JobRecord(id="j", request=FitRequest(project_id="bears"))),
        "shard_timeout_s": queue.enqueue_shard("j", 0),
        "package_timeout_s": queue.enqueue_package("j"),
        "import_timeout_s": queue.enqueue_job(JobRecord(id="gen-1", request=ImportRequest.model_validate(upload))),
        "train_timeout_s": queue.enqueue_job(JobRecord(id="gen-2", request=TrainRequest.model_validate(upload))),
        "encode_timeout_s": queue.enqueue_job(JobRecord(id="gen-3", request=EncodeRequest(generator_id="mine"))),
    }
    assert parts.keys() == names.keys()
    for setting, part_id in parts.items():
        part = Job.fetch(part_id, connection=redis, serializer=JSONSerializer)
        monkeypatch.setattr("workers.public_errors.get_current_job", lambda part=part: part)
        error = public_error(JobTimeoutException("Task exceeded maximum timeout value"))
        assert re.findall(r"LABELMINT_\w+", error.message) == [f"LABELMINT_{setting.upper()}"]
        assert f"is {limits[setting]} s." in error.message
        assert ("`max_attempts`" in error.message) == (setting == "shard_timeout_s")
