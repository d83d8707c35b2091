"""Locks that are held for moments, so that a decision and what follows from it are one step."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis

_LIFE_S = 60


class LockBusy(redis.RedisError):
    """Another process holds a lock for too long."""


@contextmanager
def brief_lock(connection: redis.Redis, what: str, life_s: int = _LIFE_S) -> Iterator[None]:
    """Let one process at a time decide about `what`. One that is killed meanwhile holds up others for `life_s` seconds.

    Raises `LockBusy` if another one does not end, and errors of Redis.
    """
    lock = connection.lock(f"labelmint:lock:{what}", timeout=life_s, sleep=0.02, raise_on_release_error=False)
    if not lock.acquire(blocking_timeout=life_s + 5):
        raise LockBusy(f"{what} is locked")
    try:
        yield
    finally:
        lock.release()
