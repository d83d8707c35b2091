"""Taking on a job: recorded and queued, or neither."""

import hashlib
from collections.abc import Callable

from redis import RedisError

from service.ids import new_id
from service.job_reader import JobMissing
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
    check: Callable[[], object] = lambda: None,
) -> JobRecord:
    """The job that `request` becomes, or the one it became when it came with this key before.

    `prefix` begins the job's id, so that jobs of one sort are found without reading all others.

    `check` raises what speaks against a new job; a job that is known by its key is given back without it, for what it
    was about may be gone by now. It looks a second time when the job is recorded: whoever deletes what the job is about
    looks for jobs once more after it is gone, so one of the two sees the other.

    Raises `Problem` (422) if the key came with another request, errors of Redis and of the store, and what `check`
    raises, after which no job is left.
    """
    known = accepted_before(request, idempotency_key, ledger, prefix)
    if known is None:
        check()
    job = JobRecord(id=_id(idempotency_key, prefix), request=request)
    accepted = known or _alike(ledger.accept(job), request)
    if accepted.state is JobState.QUEUED:
        try:
            if accepted is job:
                check()
            queue.enqueue_job(accepted)
        except Exception:
            if accepted is job:
                _forget(job, ledger)
            raise
    return accepted


def accepted_before(
    request: JobRequest, idempotency_key: str | None, ledger: Ledger, prefix: str = ""
) -> JobRecord | None:
    """The job that `request` became when it came with this key before. Raises `Problem` (422) if the key came with
    another one."""
    if idempotency_key is None:
        return None
    try:
        return _alike(ledger.get(_id(idempotency_key, prefix)), request)
    except JobMissing:
        return None


def _alike(job: JobRecord, request: JobRequest) -> JobRecord:
    if job.request != request:
        detail = "This Idempotency-Key came with another body before. Use a new key for a new request."
        raise Problem(422, "idempotency-key-reused", "Idempotency key reused", detail)
    return job


def _id(idempotency_key: str | None, prefix: str) -> str:
    """A job's id follows from its key, so the key is honoured as long as the job is known, even if Redis is wiped."""
    if idempotency_key is None:
        return prefix + new_id()
    return f"{prefix}k{hashlib.sha256(idempotency_key.encode()).hexdigest()[:23]}"


def _forget(job: JobRecord, ledger: Ledger) -> None:
    try:
        ledger.forget(job.id)
    except RedisError:
        # The record is gone from the store, which comes first. What Redis may still hold of it counts as a job until a
        # worker sweeps it away.
        return
