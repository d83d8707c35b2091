"""What a sweep sets right, by itself: no worker runs."""

import time
from collections.abc import Iterator
from typing import BinaryIO

import pytest
import redis as redis_client
from rq import Queue
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from service import locks
from service.ledger import Ledger
from service.locks import lock_if_free
from service.queue import QUEUE_NAME, JobQueue
from service.records import JobRecord, JobState
from service.requests import FitRequest
from service.settings import Settings
from service.stores import FileStore
from workers import sweep
from workers.sweep import Sweeper

LIFE_S = 0.6


@pytest.fixture
def ledger(store: FileStore, redis: redis_client.Redis) -> Ledger:
    return Ledger(store, redis, 3600)


@pytest.fixture
def queue(redis: redis_client.Redis, settings: Settings) -> JobQueue:
    queue = JobQueue(redis, settings)
    queue.mark_complete()
    return queue


@pytest.fixture
def sweeper(redis: redis_client.Redis, ledger: Ledger, queue: JobQueue) -> Sweeper:
    return Sweeper(redis, ledger, queue)


def accept(ledger: Ledger, job_id: str) -> JobRecord:
    return ledger.accept(JobRecord(id=job_id, request=FitRequest(project_id="none")))


@pytest.fixture
def failed(redis: redis_client.Redis, ledger: Ledger, queue: JobQueue) -> str:
    """The id of a job whose part has failed for good."""
    part = queue.enqueue_job(accept(ledger, "job"))
    entries = Queue(QUEUE_NAME, connection=redis, serializer=JSONSerializer)
    entries.remove(part)
    fetched = entries.fetch_job(part)
    assert fetched is not None
    FailedJobRegistry(queue=entries).add(fetched, ttl=100, exc_string="killed")
    return "job"


def test_a_job_that_another_process_decides_about_waits_for_the_next_sweep(
    redis: redis_client.Redis, ledger: Ledger, sweeper: Sweeper, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_LIFE_S", 0.1)
    redis.set(f"labelmint:lock:{failed}", "another")
    sweeper.sweep()
    assert ledger.get(failed).state is JobState.QUEUED
    redis.delete(f"labelmint:lock:{failed}")
    sweeper.sweep()
    assert ledger.get(failed).state is JobState.FAILED


def test_one_sweep_runs_at_a_time_however_slow_the_store_is(
    redis: redis_client.Redis,
    ledger: Ledger,
    queue: JobQueue,
    sweeper: Sweeper,
    failed: str,
    store: FileStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locks, "_LIFE_S", LIFE_S)
    monkeypatch.setattr(locks, "_keeper", locks._Keeper())  # that of tests before may look seldom
    put, others = store.put, []

    def slow_put(key: str, data: bytes | BinaryIO) -> int:
        time.sleep(4 * LIFE_S)
        with lock_if_free(redis, "sweep") as free:
            others.append(free)
        return put(key, data)

    monkeypatch.setattr(store, "put", slow_put)
    sweeper.sweep()
    assert others == [False]
    assert ledger.get(failed).state is JobState.FAILED


class Refusing:
    """A Redis that reads but does not write, from the store's next word on."""

    def __init__(self, redis: redis_client.Redis, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self._redis, self._store, self._monkeypatch = redis, store, monkeypatch

    def after(self, method: str) -> None:
        done = getattr(self._store, method)

        def done_and_no_more(*args: object) -> object:
            result = done(*args)
            self._redis.config_set("min-replicas-to-write", 1)
            return result

        self._monkeypatch.setattr(self._store, method, done_and_no_more)

    def no_more(self) -> None:
        self._monkeypatch.undo()
        self._redis.config_set("min-replicas-to-write", 0)
        for key in self._redis.keys("labelmint:lock:*"):  # those that could not be released run out
            self._redis.delete(key)


@pytest.fixture
def refusing(redis: redis_client.Redis, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Refusing]:
    refusing = Refusing(redis, store, monkeypatch)
    yield refusing
    refusing.no_more()


def unfinished(ledger: Ledger) -> int:
    counts = ledger.counts()
    return counts[JobState.QUEUED] + counts[JobState.RUNNING]


def test_a_job_that_is_gone_from_the_store_alone_counts_no_more(
    redis: redis_client.Redis, ledger: Ledger, queue: JobQueue, sweeper: Sweeper, refusing: Refusing
) -> None:
    queue.enqueue_job(accept(ledger, "queued"))
    accept(ledger, "not-queued")
    accept(ledger, "job")
    refusing.after("delete")
    with pytest.raises(redis_client.RedisError):
        ledger.forget("job")
    refusing.no_more()
    assert unfinished(ledger) == 3
    sweeper.sweep()
    assert unfinished(ledger) == 2
    assert ledger.counted() == {"queued", "not-queued"}
    assert redis.keys("labelmint:job:job*") == []


def test_a_job_that_has_ended_in_the_store_alone_has_ended(
    redis: redis_client.Redis, ledger: Ledger, sweeper: Sweeper, refusing: Refusing
) -> None:
    accept(ledger, "job")
    ledger.start("job")
    refusing.after("put")
    with pytest.raises(redis_client.RedisError):
        ledger.succeed("job", {})
    refusing.no_more()
    assert ledger.counts()[JobState.RUNNING] == 1
    sweeper.sweep()
    counts = ledger.counts()
    assert (counts[JobState.RUNNING], counts[JobState.SUCCEEDED]) == (0, 1)
    assert 0 < redis.ttl("labelmint:job:job") <= 3600
    ledger.settle("job")
    assert ledger.counts() == counts, "it is settled once"


def test_what_redis_counts_is_looked_at_now_and_then(
    ledger: Ledger, sweeper: Sweeper, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for moment in (100.0, 130.0, 161.0):
        monkeypatch.setattr(sweep.time, "monotonic", lambda moment=moment: moment)
        store.delete(JobRecord.key(accept(ledger, "job").id))
        sweeper.sweep()
        seen.append(unfinished(ledger))
    assert seen == [0, 1, 0]


def test_a_record_that_cannot_be_read_is_no_end(
    redis: redis_client.Redis, ledger: Ledger, sweeper: Sweeper, store: FileStore
) -> None:
    """A later version may have written it."""
    accept(ledger, "job")
    store.put(JobRecord.key("job"), b"{}")
    sweeper.sweep()
    assert unfinished(ledger) == 1
    assert redis.exists("labelmint:job:job")
