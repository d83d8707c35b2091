"""Turns any exception of a job body into a stable code, a message safe to show, and whether a retry makes sense."""

from typing import Any

import redis.exceptions
from rq import get_current_job
from rq.timeouts import JobTimeoutException

from service.locks import LockBusy
from service.printed import shortened_text
from service.queue import TIME_LIMITS
from service.records import JobError
from service.stores.protocol import ObjectMissing, StoreFull, StoreUnavailable

_LONGEST_MESSAGE = 4000

_TAKES_LONG = {
    "fit_timeout_s": "The fit",
    "shard_timeout_s": "A shard of the job",
    "package_timeout_s": "Packing the dataset",
    "import_timeout_s": "The import",
    "train_timeout_s": "The training",
    "encode_timeout_s": "Training the encoder",
}
"""What a setting limits, in words."""


class JobFailure(Exception):
    """A failure whose words are written for the user. A job body raises it where it knows what went wrong.

    Names from files of strangers may stand in `message`: what does not print becomes `�`, and its length is limited.
    """

    def __init__(self, code: str, message: str, retry: bool = False) -> None:
        told = shortened_text(message, _LONGEST_MESSAGE)
        super().__init__(told)
        self.error = JobError(code=code, message=told, retry=retry)

    def __reduce__(self) -> tuple[type["JobFailure"], tuple[str, str, bool], dict[str, Any]]:
        return JobFailure, (self.error.code, self.error.message, self.error.retry), vars(self)


WORKER_LOST = JobError(
    code="worker-lost",
    message="The processes that did the work ended again and again before they could say why. Most often memory ran "
    "out: give the workers more, look into their logs, and send the request again.",
    retry=True,
)


def process_lost() -> JobFailure:
    """Of a worker's own helper, which ended before its work was done."""
    return JobFailure(
        WORKER_LOST.code,
        "A process that did part of the work was ended from outside or could not be started, most often because memory "
        "ran out: give the workers more, and send the request again.",
        retry=True,
    )


WORKER_STOPPED = "worker-stopped"
"""Why a part is done again whose worker was told to stop. No job fails of it."""


def public_error(exc: BaseException) -> JobError:
    """The public face of `exc`. Texts of unforeseen exceptions stay in the worker's log: they may hold secrets."""
    if isinstance(exc, JobFailure):
        return exc.error
    if isinstance(exc, JobTimeoutException):
        return JobError(code="timeout", message=_too_long(), retry=False)
    if isinstance(exc, ObjectMissing):
        return JobError(
            code="object-missing",
            message="Something this job needs is no longer in the store: its project or its generator was deleted.",
            retry=False,
        )
    if isinstance(exc, MemoryError) or type(exc).__name__ == "OutOfMemoryError":  # torch's, without importing torch
        return JobError(
            code="out-of-memory",
            message="The worker ran out of memory. Free some on its device, or use a larger one, and send the request "
            "again.",
            retry=True,
        )
    if type(exc).__name__ == "CheckpointError":  # of models, without importing torch
        return JobError(
            code="generator-damaged",
            message="The generator's or the labeler's files in the store cannot be read. Upload the generator again.",
            retry=False,
        )
    if isinstance(exc, LockBusy):
        return JobError(
            code="busy",
            message="Another worker or request held what this job needs for too long. Send the request again.",
            retry=True,
        )
    if isinstance(exc, redis.exceptions.RedisError):
        return JobError(
            code="redis-unavailable",
            message="Redis did not answer while the job was running. Send the request again once it is back.",
            retry=True,
        )
    if isinstance(exc, StoreFull):
        return JobError(
            code="store-full",
            message="The object store is full. Make room in it, or give it more, and send the request again.",
            retry=True,
        )
    if isinstance(exc, StoreUnavailable | OSError):
        return JobError(
            code="store-unavailable",
            message="The object store or the worker's disk refused a read or a write. Send the request again once it "
            "is back. If it seems to be there, its address, its bucket or the worker's rights in it may be wrong: the "
            "worker's log has its answer.",
            retry=True,
        )
    return JobError(
        code="internal",
        message="The worker met an error it has no words for. Its log has the details under this job's id.",
        retry=True,
    )


def _too_long() -> str:
    """Of the part that runs here."""
    part = get_current_job()
    setting = TIME_LIMITS.get(part.func_name or "") if part is not None else None
    if part is None or setting is None:
        return "A step of the job took longer than its time limit. Raise that, or use a faster device."
    remedy = "Raise it, or use a faster device."
    if setting == "shard_timeout_s":
        remedy = "Raise it, use a faster device, or lower `max_attempts` if the request has a `balance`."
    limit = f"LABELMINT_{setting.upper()} allows, which is {part.timeout} s"
    return f"{_TAKES_LONG[setting]} took longer than {limit}. {remedy}"
