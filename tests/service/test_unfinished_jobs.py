"""Finding the jobs that have not ended: at the cost of those, and by the store's word where Redis was lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from redis import Redis

from service.ledger import Ledger
from service.queue import JobQueue
from service.stores import FileStore
from service.stores.protocol import StoredObject
from tests.service.jobs import ERROR, make_job
from workers.recover import recover


class CountingStore(FileStore):
    """Notes the keys of what is opened and the beginnings of what is listed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        self.asked.append(key)
        return super().open(key, start, end)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        self.asked.append(prefix)
        return super().list(prefix)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


@pytest.fixture
def ledger(store: CountingStore, redis: Redis) -> Ledger:
    """Of five jobs, `a1` and `b2` not ended."""
    ledger = Ledger(store, redis, 100)
    for job_id in ("a0", "a1", "b0", "b1", "b2"):
        ledger.accept(make_job(job_id))
    ledger.fail("a0", ERROR)
    ledger.succeed("b0", {"png": "x"})
    ledger.cancel("b1")
    return ledger


def unfinished(ledger: Ledger, prefix: str = "") -> list[str]:
    return [job.id for job in ledger.unfinished(prefix)]


def test_jobs_that_have_ended_are_not_looked_at(ledger: Ledger, store: CountingStore, redis: Redis) -> None:
    JobQueue(redis).mark_complete()
    store.asked.clear()
    assert unfinished(ledger) == ["a1", "b2"]
    assert unfinished(ledger, "b") == ["b2"]
    assert store.asked == ["jobs/a1/job.json", "jobs/b2/job.json", "jobs/b2/job.json"]


def test_a_job_that_only_redis_takes_for_unfinished_is_none(ledger: Ledger, redis: Redis) -> None:
    JobQueue(redis).mark_complete()
    for job_id in ("a0", "gone"):
        ledger.count(job_id)
    assert unfinished(ledger) == ["a1", "b2"]


def test_where_redis_was_lost_the_store_is_asked(ledger: Ledger, redis: Redis) -> None:
    redis.flushall()
    assert unfinished(ledger) == ["a1", "b2"]
    ledger.accept(make_job("c"))
    assert unfinished(ledger) == ["a1", "b2", "c"], "Redis knows of one of them alone"


def test_after_a_recovery_redis_is_asked_again(ledger: Ledger, store: CountingStore, redis: Redis) -> None:
    ledger.start("b2")
    ledger.cancel("b2")
    redis.flushall()
    recover(ledger, JobQueue(redis))
    store.asked.clear()
    assert unfinished(ledger) == ["a1"], "b2 was cancelled, and nobody had it in hand"
    assert set(store.asked) == {"jobs/a1/job.json"}
