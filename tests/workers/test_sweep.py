"""What a sweep sets right, by itself: no worker runs."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from typing import BinaryIO

import pytest
import redis as redis_client
from rq import Queue
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import now

from service import locks
from service.accepting import accept_job
from service.ledger import Ledger
from service.locks import lock_if_free
from service.queue import QUEUE_NAME, JobQueue
from service.records import JobRecord, JobState
from service.redis_client import connect
from service.requests import FitRequest
from service.settings import Settings
from service.stores import FileStore, StoreUnavailable
from workers import sweep
from workers.recover import recover
from workers.sweep import Sweeper
from workers.worker import ForkingWorker

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


@pytest.fixture
def entries(redis: redis_client.Redis) -> Queue:
    return Queue(QUEUE_NAME, connection=redis, serializer=JSONSerializer)


@pytest.fixture
def looks(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sweeps so often, and looks for jobs without a part each time."""

    def look(times: int) -> None:
        monkeypatch.setattr(sweep, "_COUNTED_EVERY_S", 0.0)
        for _ in range(times):
            sweeper.sweep()

    return look


def accept(ledger: Ledger, job_id: str) -> JobRecord:
    return ledger.accept(JobRecord(id=job_id, request=FitRequest(project_id="none")))


@pytest.fixture
def failed(entries: Queue, ledger: Ledger, queue: JobQueue) -> str:
    """The id of a job whose part has failed for good."""
    part = queue.enqueue_job(accept(ledger, "job"))
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


def test_a_job_that_was_never_enqueued_is_taken_up_when_it_is_idle_twice(
    ledger: Ledger, entries: Queue, looks: Callable[[int], None]
) -> None:
    accept(ledger, "job")
    looks(1)
    assert entries.job_ids == [], "somebody may be about to enqueue it"
    looks(1)
    assert entries.job_ids == ["job-fit"]
    looks(2)
    assert entries.job_ids == ["job-fit"]


def test_a_job_whose_part_has_ended_and_handed_nothing_on_is_taken_up(
    ledger: Ledger, queue: JobQueue, entries: Queue, looks: Callable[[int], None]
) -> None:
    part = entries.fetch_job(queue.enqueue_job(accept(ledger, "job")))
    assert part is not None
    ledger.start("job")
    entries.remove(part)
    part.set_status(JobStatus.FINISHED)
    looks(2)
    assert entries.job_ids == ["job-fit"]


def test_a_job_that_is_cancelling_in_nobodys_hand_is_ended(ledger: Ledger, looks: Callable[[int], None]) -> None:
    accept(ledger, "job")
    ledger.start("job")
    ledger.cancel("job")
    looks(1)
    assert ledger.get("job").state is JobState.CANCELLING
    looks(1)
    assert ledger.get("job").state is JobState.CANCELLED


def test_a_job_that_is_to_fail_once_the_store_is_back_is_not_begun_anew(
    ledger: Ledger,
    store: FileStore,
    entries: Queue,
    failed: str,
    looks: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> int:
        raise StoreUnavailable("full")

    monkeypatch.setattr(store, "put", full)
    looks(3)
    assert entries.job_ids == []
    monkeypatch.undo()
    looks(1)
    assert ledger.get(failed).state is JobState.FAILED


def test_what_dies_while_it_accepts_a_job_leaves_one_that_is_taken_up(
    redis_url: str, store: FileStore, entries: Queue, looks: Callable[[int], None]
) -> None:
    put = store.put

    def accept_and_die() -> None:
        def put_and_die(key: str, data: bytes | BinaryIO) -> int:
            put(key, data)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

        store.put = put_and_die  # type: ignore[method-assign]
        accept(Ledger(store, connect(redis_url), 3600), "job")

    child = get_context("fork").Process(target=accept_and_die)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    looks(2)
    assert entries.job_ids == ["job-fit"]


def test_a_job_that_was_refused_while_redis_was_out_is_never_taken_up(
    ledger: Ledger, queue: JobQueue, store: FileStore, sweeper: Sweeper, refusing: Refusing
) -> None:
    refusing.after("put")
    with pytest.raises(redis_client.RedisError):
        accept_job(FitRequest(project_id="none"), None, ledger, queue)
    refusing.no_more()
    assert list(store.list()) == []
    sweeper.sweep()
    assert unfinished(ledger) == 0
    assert recover(ledger, queue) == 0


@dataclass
class Begun:
    """A part that a worker of this process has in hand."""

    worker: ForkingWorker
    part: Job
    queue: Queue

    def end(self) -> None:
        self.part.started_at = self.part.ended_at = now()
        self.worker.handle_job_success(self.part, self.queue, StartedJobRegistry(queue=self.queue))

    def is_done(self) -> bool:
        return self.part.get_status() is JobStatus.FINISHED and self.queue.job_ids == []


@pytest.fixture
def begun(redis: redis_client.Redis, ledger: Ledger, queue: JobQueue, settings: Settings, entries: Queue) -> Begun:
    part = entries.fetch_job(queue.enqueue_job(accept(ledger, "job")))
    assert part is not None
    entries.remove(part)
    worker = ForkingWorker(redis, ledger, settings)
    worker.register_birth()
    worker.prepare_execution(part)
    worker.prepare_job_execution(part)
    return Begun(worker, part, entries)


def test_a_part_that_ends_when_it_was_just_seen_among_the_started_ones_is_done(
    ledger: Ledger, sweeper: Sweeper, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = StartedJobRegistry.get_job_and_execution_ids

    def look_early(*arguments: object, **options: object) -> list[tuple[str, str]]:
        found = list(look(*arguments, **options))
        monkeypatch.undo()
        begun.end()
        return found

    monkeypatch.setattr(StartedJobRegistry, "get_job_and_execution_ids", look_early)
    sweeper.sweep()
    assert begun.is_done()
    assert ledger.history("job").log == []


def test_a_part_that_ends_before_its_worker_is_asked_for_is_done(
    ledger: Ledger, sweeper: Sweeper, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeper.sweep()
    assert begun.part.get_status() is JobStatus.STARTED
    fetch = Execution.fetch

    def fetch_late(*arguments: str) -> Execution:
        monkeypatch.undo()
        begun.end()
        return fetch(*arguments)

    monkeypatch.setattr(Execution, "fetch", fetch_late)
    sweeper.sweep()
    assert begun.is_done()
    assert ledger.history("job").log == [], "nothing was interrupted"


def test_a_part_that_ends_as_its_worker_is_given_up_is_done(
    redis: redis_client.Redis, ledger: Ledger, sweeper: Sweeper, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was suspended, say."""
    redis.delete(begun.worker.key)
    fetch = Job.fetch

    def fetch_early(*arguments: str, **options: object) -> Job:
        found = fetch(*arguments, **options)
        monkeypatch.undo()
        begun.end()
        return found

    monkeypatch.setattr(Job, "fetch", fetch_early)
    sweeper.sweep()
    assert begun.is_done()
    assert ledger.history("job").log == []


def test_a_part_of_a_dead_worker_is_put_back(redis: redis_client.Redis, sweeper: Sweeper, begun: Begun) -> None:
    redis.delete(begun.worker.key)
    sweeper.sweep()
    assert begun.part.get_status() is JobStatus.QUEUED
    assert begun.queue.job_ids == ["job-fit"]
    assert len(StartedJobRegistry(queue=begun.queue)) == 0
