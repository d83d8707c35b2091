"""Locks that are held for moments, so that a decision and what follows from it are one step."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from service.ledger import LedgerBusy

_LIFE_S = 60


@contextmanager
def brief_lock(connection: redis.Redis, what: str) -> Iterator[None]:
    """Let one process at a time decide about `what`.

    Raises `LedgerBusy` if another one does not end, and errors of Redis.
    """
    lock = connection.lock(f"labelmint:lock:{what}", timeout=_LIFE_S, sleep=0.05, raise_on_release_error=False)
    if not lock.acquire(blocking_timeout=_LIFE_S + 5):
        raise LedgerBusy(f"{what} is locked")
    try:
        yield
    finally:
        lock.release()
