"""The ledger over a real server: what is merged, what survives, and who wins a race."""

import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest
from redis import Redis

from service.job_reader import JobMissing
from service.ledger import JobFinished, Ledger
from service.live_job import LiveJob
from service.records import JobError, JobRecord, JobState, Phase
from service.stores import FileStore, StoreUnavailable
from tests.service.conftest import SHORT_LIFE_S
from tests.service.jobs import make_job

ERROR = JobError(code="fit-failed", message="no", retry=False)


def test_an_accepted_job_is_queued_and_in_the_store(ledger: Ledger, job: JobRecord, store: FileStore) -> None:
    assert ledger.get(job.id) == job
    assert job.state is JobState.QUEUED
    assert JobRecord.model_validate_json(store.read("jobs/job-1/job.json")) == job


@pytest.mark.parametrize("job_id", ["nothing", "../x", "", "a/b"])
def test_an_unknown_job_is_missing(ledger: Ledger, job_id: str) -> None:
    for call in (ledger.get, ledger.cancel, ledger.start):
        with pytest.raises(JobMissing):
            call(job_id)


def test_accepting_again_returns_the_first(ledger: Ledger, job: JobRecord) -> None:
    ledger.start(job.id)
    again = ledger.accept(make_job(count=5))
    assert again.request.count == 100
    assert again.state is JobState.RUNNING


def test_nothing_reaches_redis_if_the_store_fails(
    ledger: Ledger, redis: Redis, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(key: str, data: bytes) -> int:
        raise StoreUnavailable("full")

    monkeypatch.setattr(store, "put", full)
    with pytest.raises(StoreUnavailable):
        ledger.accept(make_job())
    assert redis.keys() == []


def test_a_job_goes_through_its_phases(ledger: Ledger, job: JobRecord) -> None:
    assert ledger.start(job.id)
    first = ledger.get(job.id).started
    assert first is not None
    ledger.enter_phase(job.id, Phase.INVERT, 50)
    ledger.advance(job.id, 25)
    running = ledger.get(job.id)
    assert (running.state, running.phase) == (JobState.RUNNING, Phase.INVERT)
    assert (running.progress.done, running.progress.total) == (25, 50)
    ledger.plan(job.id, "abc", shards=2, shard_size=50)
    ledger.enter_phase(job.id, Phase.GENERATE, 100)
    planned = ledger.get(job.id)
    assert (planned.fit_key, planned.shards, planned.shard_size) == ("abc", 2, 50)
    assert planned.progress.done == 0
    ledger.note(job.id, "two seeds left out")
    ledger.note(job.id, "one more thing")
    ledger.note(job.id, "two seeds left out")
    ledger.start(job.id)
    assert ledger.get(job.id).started == first
    ledger.succeed(job.id, {"png": "datasets/job-1/png.zip"})
    ended = ledger.get(job.id)
    assert ended.state is JobState.SUCCEEDED
    assert ended.outputs == {"png": "datasets/job-1/png.zip"}
    assert ended.notes == ["two seeds left out", "one more thing"]
    assert ended.finished is not None
    assert ended.fit_key == "abc"


def test_a_queued_job_is_cancelled_at_once(ledger: Ledger, job: JobRecord) -> None:
    assert ledger.cancel(job.id) is JobState.CANCELLED
    assert ledger.is_cancelling(job.id)
    assert not ledger.start(job.id)
    with pytest.raises(JobFinished):
        ledger.cancel(job.id)


def test_a_running_job_is_cancelling_until_put_down(ledger: Ledger, job: JobRecord) -> None:
    ledger.start(job.id)
    assert not ledger.is_cancelling(job.id)
    assert ledger.cancel(job.id) is ledger.cancel(job.id) is JobState.CANCELLING
    assert ledger.is_cancelling(job.id)
    assert not ledger.start(job.id)
    ledger.cancelled(job.id)
    assert ledger.get(job.id).state is JobState.CANCELLED


def test_the_first_end_wins(ledger: Ledger, job: JobRecord) -> None:
    ledger.start(job.id)
    ledger.succeed(job.id, {"png": "x"})
    ledger.fail(job.id, ERROR)
    ledger.cancelled(job.id)
    ended = ledger.get(job.id)
    assert ended.state is JobState.SUCCEEDED
    assert ended.error is None


def test_of_two_ends_at_once_one_is_kept(store: FileStore, redis: Redis) -> None:
    ledger = Ledger(store, redis, 100)
    for turn in range(10):
        job_id = ledger.accept(make_job(f"job-{turn}")).id
        threads = [
            threading.Thread(target=ledger.fail, args=(job_id, ERROR)),
            threading.Thread(target=ledger.succeed, args=(job_id, {"png": "x"})),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ended = ledger.get(job_id)
        assert (ended.error is None) == (ended.state is JobState.SUCCEEDED) == bool(ended.outputs)
    assert sum(ledger.counts().values()) == 10


def test_the_first_end_wins_however_slow_the_store_is(
    store: FileStore, redis: Redis, short_life: None, tmp_path: Path
) -> None:
    begun = threading.Event()

    class SlowStore(FileStore):
        def put(self, key: str, data: bytes | BinaryIO) -> int:
            begun.set()
            time.sleep(4 * SHORT_LIFE_S)
            return super().put(key, data)

    slow, quick = Ledger(SlowStore(tmp_path / "store"), redis, 100), Ledger(store, redis, 100)
    job_id = quick.accept(make_job()).id
    first = threading.Thread(target=slow.succeed, args=(job_id, {"png": "x"}))
    first.start()
    assert begun.wait(20)
    quick.fail(job_id, ERROR)
    first.join()
    assert quick.get(job_id).state is JobState.SUCCEEDED
    counts = quick.counts()
    assert (counts[JobState.SUCCEEDED], counts[JobState.FAILED]) == (1, 0)


def test_a_wiped_redis_loses_no_job(ledger: Ledger, job: JobRecord, redis: Redis) -> None:
    done = ledger.accept(make_job("job-2"))
    ledger.succeed(done.id, {"png": "x"})
    ledger.start(job.id)
    redis.flushall()
    assert ledger.get(job.id).state is JobState.QUEUED
    assert ledger.get(done.id).state is JobState.SUCCEEDED
    assert [found.id for found in ledger.unfinished()] == [job.id]
    ledger.enter_phase(job.id, Phase.FIT, 5)
    assert ledger.get(job.id).state is JobState.RUNNING


def test_a_wiped_redis_loses_no_cancellation(ledger: Ledger, job: JobRecord, redis: Redis) -> None:
    ledger.start(job.id)
    started = ledger.get(job.id).started
    ledger.note(job.id, "one seed left out")
    for _ in range(2):
        assert ledger.cancel(job.id) is JobState.CANCELLING
        redis.flushall()
    assert ledger.get(job.id).state is JobState.CANCELLING
    assert ledger.is_cancelling(job.id)
    assert not ledger.start(job.id)
    redis.flushall()
    ledger.enter_phase(job.id, Phase.FIT, 5)  # by a worker that has heard of nothing
    assert ledger.is_cancelling(job.id)
    assert ledger.get(job.id).state is JobState.CANCELLING
    redis.hset("labelmint:job:job-1", "state", "running")
    assert ledger.get(job.id).state is JobState.CANCELLING
    ledger.cancelled(job.id)
    assert (ledger.get(job.id).state, ledger.get(job.id).started) == (JobState.CANCELLED, started)


def test_a_cancelled_job_tells_each_note_once(ledger: Ledger, job: JobRecord) -> None:
    ledger.start(job.id)
    ledger.note(job.id, "one seed left out")
    ledger.cancel(job.id)
    assert ledger.get(job.id).notes == ["one seed left out"]
    ledger.cancelled(job.id)
    assert ledger.get(job.id).notes == ["one seed left out"]


def test_a_worker_goes_on_when_redis_was_wiped(ledger: Ledger, job: JobRecord, redis: Redis) -> None:
    ledger.start(job.id)
    redis.flushall()
    assert not ledger.is_cancelling(job.id)
    assert ledger.get(job.id).state is JobState.RUNNING
    assert not ledger.is_cancelling("nothing")


def test_the_stores_end_counts_when_redis_was_not_told(ledger: Ledger, job: JobRecord, store: FileStore) -> None:
    ledger.start(job.id)
    ended = job.model_copy(update={"state": JobState.SUCCEEDED})
    store.put(JobRecord.key(job.id), ended.model_dump_json().encode())
    assert ledger.get(job.id).state is JobState.SUCCEEDED


def test_a_job_that_ends_while_it_is_read_is_read_whole(
    ledger: Ledger, job: JobRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as one that has succeeded and made nothing."""
    ledger.start(job.id)
    read = LiveJob.read
    for look in (ledger.get, lambda job_id: ledger.history(job_id, known=job).job):

        def read_late(connection: Redis, job_id: str) -> LiveJob:
            monkeypatch.undo()
            ledger.succeed(job_id, {"png": "x"})
            return read(connection, job_id)

        monkeypatch.setattr(LiveJob, "read", read_late)
        found = look(job.id)
        assert (found.state, found.outputs) == (JobState.SUCCEEDED, {"png": "x"})
        assert found.finished is not None


def test_a_cancellation_after_the_last_look_into_the_store_is_seen(
    ledger: Ledger, job: JobRecord, redis: Redis
) -> None:
    ledger.start(job.id)
    ledger.cancel(job.id)
    assert ledger.history(job.id, known=job).stored.state is JobState.CANCELLING
    redis.flushall()
    assert ledger.history(job.id, known=job).job.state is JobState.CANCELLING


def test_what_did_not_change_is_no_event(ledger: Ledger, job: JobRecord, redis: Redis) -> None:
    for _ in range(2):
        ledger.start(job.id)
        ledger.enter_phase(job.id, Phase.FIT, 10)
        ledger.note(job.id, "two seeds left out")
    assert [event.type for event in ledger.history(job.id).log] == ["running", "phase", "note"]
    ledger.enter_phase(job.id, Phase.FIT, 20)
    ledger.enter_phase(job.id, Phase.GENERATE, 5)
    ledger.enter_phase(job.id, Phase.FIT, 10)
    log = ledger.history(job.id).log
    assert [event.type for event in log] == ["running", "phase", "note", "progress", "phase"]
    assert (log[-2].data["phase"], log[-2].data["total"]) == ("fit", 20)
    for _ in range(2):
        ledger.cancel(job.id)
    logged = redis.zrange("labelmint:job:job-1:events", 0, -1)
    assert [member.split()[1] for member in logged] == [b"running", b"phase", b"note", b"phase", b"cancelling"]


def test_nothing_is_logged_after_the_end(ledger: Ledger, job: JobRecord) -> None:
    ledger.start(job.id)
    ledger.succeed(job.id, {})
    before = ledger.history(job.id).log
    ledger.advance_shard(job.id, 0, 5)
    ledger.note(job.id, "too late")
    ledger.interrupted(job.id, "job-1-fit", "worker-lost")
    ledger.enter_phase(job.id, Phase.PACKAGE, 5)
    assert ledger.history(job.id).log == before


def test_parts_of_no_job_leave_no_trace(ledger: Ledger, redis: Redis) -> None:
    ledger.interrupted("nothing", "nothing-fit", "worker-lost")
    assert redis.keys() == []


def test_redis_forgets_a_finished_job_in_time(ledger: Ledger, job: JobRecord, redis: Redis) -> None:
    ledger.start(job.id)
    ledger.advance_shard(job.id, 0, 1)
    assert redis.ttl("labelmint:job:job-1") == -1
    ledger.fail(job.id, ERROR)
    for key in ("labelmint:job:job-1", "labelmint:job:job-1:shards", "labelmint:job:job-1:events"):
        assert 0 < redis.ttl(key) <= 100


def test_counts_by_state(ledger: Ledger) -> None:
    for number in range(4):
        ledger.accept(make_job(f"job-{number}"))
    ledger.start("job-1")
    ledger.fail("job-2", ERROR)
    counts = ledger.counts()
    assert (counts[JobState.QUEUED], counts[JobState.RUNNING], counts[JobState.FAILED]) == (2, 1, 1)


def test_a_forgotten_job_leaves_nothing(ledger: Ledger, job: JobRecord, store: FileStore, redis: Redis) -> None:
    ledger.forget(job.id)
    assert list(store.list()) == []
    assert redis.keys() == []


def test_a_lock_left_by_a_dead_process_does_not_last(ledger: Ledger, job: JobRecord, redis: Redis) -> None:
    redis.set("labelmint:lock:job-1", "dead", px=300)
    began = time.monotonic()
    ledger.succeed(job.id, {})
    assert 0.2 < time.monotonic() - began < 5
