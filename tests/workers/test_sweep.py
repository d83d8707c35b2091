"""What a sweep sets right, by itself: no worker runs."""

import time
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
