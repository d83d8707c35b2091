"""Taking on a job: recorded and queued, or neither."""

import hashlib
from collections.abc import Callable

from redis import RedisError

from service.ids import new_id
from service.ledger import Ledger
from service.problems import Problem
from service.queue import JobQueue
from service.records import JobRecord, JobState
from service.requests import JobRequest


def accept_job(
    request: JobRequest,
    idempotency_key: str | None,
    ledger: Ledger,
    queue: JobQueue,
    prefix: str = "",
    confirm: Callable[[], object] = lambda: None,
) -> JobRecord:
    """The job that `request` becomes, or the one it became when it came with this key before.

    `prefix` begins the job's id, so that jobs of one sort are found without reading all others.

    `confirm` looks once more, when the job is recorded, whether what it is about is still there: whoever deletes that
    looks for jobs once more after it is gone, so one of the two sees the other.

    Raises `Problem` (422) if the key came with another request, errors of Redis, and what `confirm` raises, after which
    no job is left.
    """
    job_id = prefix + (new_id() if idempotency_key is None else _id_of(idempotency_key))
    job = JobRecord(id=job_id, request=request)
    accepted = ledger.accept(job)
    if accepted.request != job.request:
        detail = "This Idempotency-Key came with another body before. Use a new key for a new request."
        raise Problem(422, "idempotency-key-reused", "Idempotency key reused", detail)
    if accepted.state is JobState.QUEUED:
        try:
            confirm()
            queue.enqueue_job(accepted)
        except Exception:
            if accepted is job:
                _forget(job, ledger)
            raise
    return accepted


def _id_of(idempotency_key: str) -> str:
    """The job's id follows from the key, so the key is honoured as long as the job is known, even if Redis is wiped."""
    return f"k{hashlib.sha256(idempotency_key.encode()).hexdigest()[:23]}"


def _forget(job: JobRecord, ledger: Ledger) -> None:
    try:
        ledger.forget(job.id)
    except RedisError:
        # The record is gone from the store, which comes first; what Redis may still hold of it is never looked up.
        return
