"""Lets one worker at a time do a given piece of work, so that two jobs that need it do it once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis
from redis.exceptions import LockError
from redis.lock import Lock

_LEASE_S = 120.0
"""A worker that is killed holds up other jobs that need the same this long at most."""

_POLL_S = 0.5


@contextmanager
def lease(
    connection: redis.Redis, work: str, holder: str, wait: Callable[[], bool]
) -> Iterator[Callable[[], None] | None]:
    """Hold the lease on `work` in the name of `holder`, a job's id.

    Yields a function that prolongs the lease and must be called more often than every two minutes. A lease that ran out
    all the same costs doing the same work twice and does no harm, so nothing is raised then. A job whose worker was
    killed takes its own lease up again at once.

    While another worker holds the lease, `wait` is called twice a second; it returns False to give up (None is
    yielded), and may raise.
    """
    lock = Lock(connection, f"labelmint:{work}", timeout=_LEASE_S, blocking=False, thread_local=False)
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
