"""Outages of the store and of Redis: they cost a part time, and for as long as there is hope no retry."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis
import structlog
from rq import get_current_job
from rq.job import Job
from rq.timeouts import JobTimeoutException

from service.records import JobError
from service.stores.protocol import StoreUnavailable
from workers.public_errors import public_error

log = structlog.get_logger(__name__)

OUTAGES = (StoreUnavailable, redis.RedisError)
"""What is raised where the store or Redis cannot be used."""

PAUSE_S = 10.0
"""A part that met an outage waits this long before it is put back into the queue."""

PATIENCE_S = 3600.0
"""For so long after its first outage a part is put back without losing a retry: a store that refuses for good must not
keep it for ever."""

_SINCE, _ERROR = "out_since", "outage"
"""In the part's own notes in the queue: when it met its first outage, and how it ended if that was by one."""


@contextmanager
def outlasting_outages() -> Iterator[None]:
    """Before an outage leaves the block, wait until there is some hope that the next try meets none.

    The retry that follows is free within `PATIENCE_S`. Outside a worker, where nobody tries again, nothing is waited
    for.
    """
    part = get_current_job()
    try:
        if part is not None and part.meta.pop(_ERROR, None) is not None:
            part.save_meta()  # type: ignore[no-untyped-call]
        yield
    except OUTAGES as outage:
        if part is not None:
            _put_off(part, outage)
        raise


def is_tried_again(failure: BaseException) -> bool:
    """Whether the part that runs here will be run again if it ends with `failure`, as far as its retries go."""
    part = get_current_job()
    if part is None:
        return False
    return (part.retries_left or 0) > 0 or (isinstance(failure, OUTAGES) and _has_patience(part))


def last_outage(part: Job) -> JobError | None:
    """The words for the outage that ended `part`, if one did."""
    noted = part.get_meta().get(_ERROR)
    return None if noted is None else JobError.model_validate(noted)


def _put_off(part: Job, outage: Exception) -> None:
    part.meta.setdefault(_SINCE, time.time())
    part.meta[_ERROR] = public_error(outage).model_dump()
    if _has_patience(part):
        part.retries_left = (part.retries_left or 0) + 1
    log.warning("put off while a service is out", part=part.id, reason=str(outage))
    with suppress(JobTimeoutException):  # the part's own time limit ends the wait as well
        time.sleep(PAUSE_S)
        while not _answers(part.connection) and _has_patience(part):  # without Redis it cannot be put back
            time.sleep(PAUSE_S)
    with suppress(redis.RedisError):
        part.save_meta()  # type: ignore[no-untyped-call]


def _has_patience(part: Job) -> bool:
    moment = time.time()
    return bool(moment - part.meta.get(_SINCE, moment) < PATIENCE_S)


def _answers(connection: redis.Redis) -> bool:
    try:
        connection.ping()
    except redis.RedisError:
        return False
    return True
