"""Waits for what happens to jobs: one look at Redis after another, whoever and however many wait."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

import redis
import structlog

from service.job_events import JobHistory
from service.job_reader import JobMissing, JobReader
from service.records import JobRecord
from service.stores.protocol import StoreUnavailable

_LOOK_EVERY_S = 0.25
_AGAIN_AFTER_S = 1.0
"""Between two looks while Redis or the store is out."""

READ_AGAIN_S = 15.0
"""So often a job is read even if Redis knows no news of it: whoever ended it may have died before telling Redis."""

_CLIENT_S = 1.0
"""Between two looks whether a client that waits is still there."""

_THREADS = 4

_Answer = TypeVar("_Answer")

log = structlog.get_logger(__name__)


class JobWatch:
    """Tells all who wait in this process what happens to their jobs.

    While anybody waits, one task looks for the latest event of every job that is watched, in one call, and reads the
    jobs that have news, each once for all its watchers. It has a few threads of its own, and so a few connections;
    whoever waits has neither. An outage of Redis or the store lets all wait longer.
    """

    def __init__(self, ledger: JobReader) -> None:
        self._ledger = ledger
        self._watched: dict[str, _Watched] = {}
        self._looking: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(_THREADS, "job-watch")
        self._stopped = False
        self._is_out = False

    @contextmanager
    def joined(self, job_id: str) -> Iterator["Watcher"]:
        """Watch a job inside the block."""
        watched = self._watched.setdefault(job_id, _Watched())
        watched.watchers += 1
        if self._stopped:
            watched.end()
        elif self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            yield Watcher(watched)
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                del self._watched[job_id]

    async def first(
        self,
        job_id: str,
        is_it: Callable[[JobHistory], bool],
        wait_s: float,
        is_gone: Callable[[], Awaitable[bool]],
    ) -> JobHistory | None:
        """The first history of the job that is as wished. None if there was none in time, or if the client is gone."""
        end = time.monotonic() + wait_s
        with self.joined(job_id) as watcher:
            while not watcher.is_over and (left := end - time.monotonic()) > 0 and not await is_gone():
                history = await watcher.next(min(left, _CLIENT_S))
                if history is not None and is_it(history):
                    return history
        return None

    def stop(self) -> None:
        """Let all who wait, and all who come, wait no longer. For good."""
        self._stopped = True
        for watched in self._watched.values():
            watched.end()

    async def _look(self) -> None:
        try:
            while self._watched and not self._stopped:
                await asyncio.sleep(_LOOK_EVERY_S if await self._look_once() else _AGAIN_AFTER_S)
        finally:
            self._looking = None

    async def _look_once(self) -> bool:
        """Returns whether store and Redis answered."""
        watched = dict(self._watched)
        try:
            latest = await self._in_thread(self._ledger.last_events, list(watched))
            news = [
                self._read(job_id, one, last)
                for (job_id, one), last in zip(watched.items(), latest, strict=True)
                if one.is_due(last)
            ]
            for fault in await asyncio.gather(*news, return_exceptions=True):
                if fault is not None:
                    raise fault
        except (redis.RedisError, StoreUnavailable) as outage:
            if not self._is_out:
                log.error("a service is out: what happens to jobs is told later", reason=str(outage))
            self._is_out = True
        except Exception:  # the boundary: it may concern one job alone
            log.exception("unexpected error")
            return False
        else:
            self._is_out = False
        return not self._is_out

    async def _read(self, job_id: str, watched: "_Watched", latest: int | None) -> None:
        known = None if watched.is_stale else watched.stored
        began = time.monotonic()
        try:
            logged = await self._in_thread(self._ledger.history, job_id, known)
        except JobMissing:
            watched.end()
            return
        if known is None:
            watched.read_at = began
        watched.latest, watched.stored = latest, logged.stored
        watched.tell(JobHistory.of(logged))

    async def _in_thread(self, call: Callable[..., _Answer], *args: object) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)


class Watcher:
    """One who waits for news of a job."""

    def __init__(self, watched: "_Watched") -> None:
        self._watched = watched
        self._seen = 0

    @property
    def is_over(self) -> bool:
        """Whether there will be no more news: of the job's end it was told, the job is gone, or the service stops."""
        return self._watched.is_over and self._seen == self._watched.version

    async def next(self, timeout_s: float) -> JobHistory | None:
        """The job's history, if it is another one than was given before, or as soon as it is; the first time any. None
        if nothing came within `timeout_s`, or nothing will."""
        watched = self._watched
        if watched.version == self._seen and not watched.is_over:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await watched.changed.wait()
        if watched.version == self._seen:
            return None
        self._seen = watched.version
        return watched.history


class _Watched:
    """A job that somebody watches, and what all its watchers are told."""

    def __init__(self) -> None:
        self.watchers = 0
        self.history: JobHistory | None = None
        self.version = 0
        self.changed = asyncio.Event()
        self.is_over = False
        self.latest: int | None = None
        self.stored: JobRecord | None = None
        self.read_at = -math.inf

    @property
    def is_stale(self) -> bool:
        return time.monotonic() - self.read_at >= READ_AGAIN_S

    def is_due(self, latest: int | None) -> bool:
        """Whether to read it, now that its latest event is `latest`."""
        return not self.is_over and (self.history is None or latest != self.latest or self.is_stale)

    def tell(self, history: JobHistory) -> None:
        if self.history is not None and history.events == self.history.events:
            return
        self.history = history
        self.version += 1
        self.is_over = history.ended
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def end(self) -> None:
        self.is_over = True
        self.changed.set()
