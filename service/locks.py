"""Locks that hold as long as their holders live and work, so that a decision and what follows from it are one step."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis
import structlog
from redis.lock import Lock

_log = structlog.get_logger(__name__)

_LIFE_S = 30.0
"""What a lock has left to live when its holder is killed, at most."""

_LONGEST_S = 3600.0
"""A holder that has not ended by then hangs. One decision may take several calls of the store, of which S3 takes up to
six minutes for each before it gives up."""


class LockBusy(redis.RedisError):
    """Another process holds a lock for too long."""


@contextmanager
def brief_lock(connection: redis.Redis, what: str) -> Iterator[None]:
    """Let one process at a time decide about `what`, however slow the store is. One that is killed or suspended
    meanwhile holds up others for half a minute, one that hangs for an hour.

    Raises `LockBusy` if another one does not end, and errors of Redis. A lock that is lost all the same, as it is with
    a Redis that forgets everything, is logged: what was decided is done by then.
    """
    with lock_if_free(connection, what, _LIFE_S + 5) as held:
        if not held:
            raise LockBusy(f"Somebody else is at work on {what} for long")
        yield


@contextmanager
def lock_if_free(connection: redis.Redis, what: str, wait_s: float = 0.0) -> Iterator[bool]:
    """The same for who can do without: yields whether `what` is locked now, by us. Raises errors of Redis."""
    # The token is for the thread that prolongs as well.
    lock = Lock(connection, f"labelmint:lock:{what}", timeout=_LIFE_S, sleep=0.02, thread_local=False)
    if not lock.acquire(blocking_timeout=wait_s):
        yield False
        return
    try:
        _keeper.add(lock)
        yield True
    finally:
        # First, so that nothing prolongs a lock that could not be released.
        _keeper.remove(lock)
        try:
            lock.release()
        except redis.exceptions.LockNotOwnedError:
            _log.warning("a lock was lost while it was held", what=what)


class _Keeper:
    """Prolongs every lock that this process holds.

    One thread does so, several times in the life of a lock: most are released before it looks for the first time. It
    ends when it finds nothing to prolong.
    """

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything. In a forked child there is no such thread, and what its parent holds is the parent's."""
        self._mutex = threading.Lock()
        self._ends: dict[Lock, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, lock: Lock) -> None:
        """Keep `lock` from running out until it is removed."""
        with self._mutex:
            self._ends[lock] = time.monotonic() + _LONGEST_S
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._prolong, name="locks", daemon=True)
                self._thread.start()

    def remove(self, lock: Lock) -> None:
        """Leave `lock` alone from now on, or almost: it may be prolonged this very moment, if it is still held."""
        with self._mutex:
            self._ends.pop(lock, None)

    def _prolong(self) -> None:
        while True:
            time.sleep(_LIFE_S / 3)
            with self._mutex:
                if not self._ends:
                    self._thread = None
                    return
                moment = time.monotonic()
                locks = [lock for lock, end in self._ends.items() if moment < end]
            for lock in locks:
                # Redis may answer again in time for the next look. Or the lock has just been released, and its client
                # closed. Whatever it is, the other locks are to be kept.
                with suppress(Exception):
                    lock.reacquire()


_keeper = _Keeper()
os.register_at_fork(after_in_child=_keeper.begin_anew)
