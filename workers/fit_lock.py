"""Lets one worker at a time fit a given labeler, so that two jobs of one project fit once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis
from redis.exceptions import LockError
from redis.lock import Lock

_LEASE_S = 120.0
"""A worker that is killed holds up other jobs of its project this long at most."""

_POLL_S = 0.5


@contextmanager
def fit_lock(
    connection: redis.Redis, key: str, holder: str, wait: Callable[[], bool]
) -> Iterator[Callable[[], None] | None]:
    """Hold the lock on the labeler `key` in the name of `holder`, a job's id.

    Yields a function that prolongs the lease and must be called more often than every two minutes. A lease that ran out
    all the same costs a second fit of the same labeler and does no harm, so nothing is raised then. A job whose worker
    was killed takes its own lock up again at once.

    While another worker holds the lock, `wait` is called twice a second; it returns False to give up (None is yielded),
    and may raise.
    """
    lock = Lock(connection, f"labelmint:fit:{key}", timeout=_LEASE_S, blocking=False, thread_local=False)
    while not lock.acquire(token=holder) and not _is_taken_over(lock, holder):
        if not wait():
            yield None
            return
        time.sleep(_POLL_S)
    try:
        yield lambda: _ignoring_a_lost_lease(lock.reacquire)
    finally:
        _ignoring_a_lost_lease(lock.release)


def _is_taken_over(lock: Lock, holder: str) -> bool:
    lock.local.token = holder.encode()
    return lock.owned()


def _ignoring_a_lost_lease(action: Callable[[], object]) -> None:
    try:
        action()
    except LockError:
        return
