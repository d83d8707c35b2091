"""However a training ends, what it reached is kept; and it ends only for a reason of its own."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis as redis_client
from rq.job import Job
from rq.serializers import JSONSerializer

from models.training.folder_lock import only_one
from service.generators import find_generator
from service.ledger import Ledger
from service.records import JobError, JobState
from service.stores import FileStore
from service.stores.protocol import StoreUnavailable
from tests.workers.conftest import NewTraining
from tests.workers.trainings import interrupt_after
from workers import generator_train
from workers.public_errors import WORKER_LOST, JobFailure
from workers.recover import recover
from workers.training_end import drop_forgotten_runs
from workers.training_starts import MOST_STARTS, Starts
from workers.workbench import Workbench


def best_images(bench: Workbench) -> int:
    """Shown until the generator that was published; nothing of the run is left."""
    record = find_generator(bench.store, "mine")
    assert record is not None
    assert not list(bench.store.list("trainings/"))
    assert not (bench.settings.data_dir / "trainings" / "gen-job").exists()
    return int(record.provenance["generator"]["images_shown"])


def test_a_training_outlasts_an_outage(new_training: NewTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = new_training()
    monkeypatch.setattr(generator_train, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr("models.training.trainer.REPORT_EVERY_S", 0.0)
    put, advance = FileStore.put, Ledger.advance
    refused: list[str] = []
    stored: list[str] = []

    def out_at_first(store: FileStore, key: str, data: Any) -> int:
        if not key.startswith(("trainings/", "jobs/gen-job/preview")):
            return put(store, key, data)
        seen = [refused, stored][sum(name.split("/")[0] == key.split("/")[0] for name in refused) >= 2]
        seen.append(key)
        if seen is refused:
            raise StoreUnavailable("for a moment")
        return put(store, key, data)

    def out_in_between(ledger: Ledger, job_id: str, done: int) -> None:
        if done == 40:
            raise redis_client.ConnectionError("for a moment")
        advance(ledger, job_id, done)

    monkeypatch.setattr(FileStore, "put", out_at_first)
    monkeypatch.setattr(Ledger, "advance", out_in_between)
    generator_train.run("gen-job")
    job = bench.ledger.get("gen-job")
    assert (job.state, job.error, job.progress.done) == (JobState.SUCCEEDED, None, 64)
    assert len(refused) == 4
    assert "trainings/gen-job/facts.json" in stored
    assert any(key.endswith("preview.png") for key in stored)


def test_three_starts_from_the_same_images_are_the_most(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    for _ in range(MOST_STARTS):
        starts.count(100)
    starts.forgive()
    starts.count(100)
    with pytest.raises(JobFailure, match="3 times after 100 images") as killed:
        Starts(tmp_path).count(100)
    assert (killed.value.error.code, killed.value.error.retry) == (WORKER_LOST.code, False)
    for _ in range(MOST_STARTS):
        starts.count(200)
    starts.blame(JobError(code="out-of-memory", message="Give it more.", retry=True))
    with pytest.raises(JobFailure, match="Give it more") as blamed:
        starts.count(200)
    assert blamed.value.error.code == "out-of-memory"


@pytest.fixture
def retried(monkeypatch: pytest.MonkeyPatch, redis: redis_client.Redis) -> None:
    """As in a worker: the part may be tried often."""
    part = Job.create("a.training", connection=redis, serializer=JSONSerializer)
    part.retries_left = 900
    monkeypatch.setattr("workers.outages.get_current_job", lambda: part)


@pytest.mark.usefixtures("retried")
def test_a_training_that_gets_no_further_is_given_up_and_its_best_is_kept(
    new_training: NewTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_training(kimg=0.4)
    interrupt_after(bench, monkeypatch, 40)

    def exhaust(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(generator_train, "train_generator", exhaust)
    for _ in range(MOST_STARTS):
        with pytest.raises(MemoryError):
            generator_train.run("gen-job")
        assert bench.ledger.get("gen-job").state is JobState.RUNNING
    generator_train.run("gen-job")
    job = bench.ledger.get("gen-job")
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "out-of-memory"
    assert any("failed after 40 images; its best snapshot was kept" in note for note in job.notes)
    assert best_images(bench) == 32


@pytest.mark.usefixtures("retried")
def test_an_outage_at_the_start_counts_for_nothing(new_training: NewTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = new_training()
    with monkeypatch.context() as patch:

        def out(*_: object) -> None:
            raise StoreUnavailable("for long")

        patch.setattr(generator_train, "fetch_upload", out)
        for _ in range(2 * MOST_STARTS):
            with pytest.raises(StoreUnavailable):
                generator_train.run("gen-job")
    generator_train.run("gen-job")
    assert bench.ledger.get("gen-job").state is JobState.SUCCEEDED


@pytest.mark.usefixtures("retried")
def test_a_training_waits_for_the_process_that_had_its_folder(new_training: NewTraining) -> None:
    bench = new_training()
    with only_one(bench.settings.data_dir / "trainings" / "gen-job"):
        for _ in range(MOST_STARTS + 1):
            with pytest.raises(JobFailure, match="has not let go"):
                generator_train.run("gen-job")
    generator_train.run("gen-job")
    assert bench.ledger.get("gen-job").state is JobState.SUCCEEDED


def cancelling(call: Callable[..., Any], bench: Workbench) -> Callable[..., Any]:
    """`call`, in whose first moment the user cancels."""

    def cancel(*arguments: Any, **named: Any) -> Any:
        if not bench.ledger.is_cancelling("gen-job"):
            bench.ledger.cancel("gen-job")
        return call(*arguments, **named)

    return cancel


@pytest.mark.parametrize("place", ["in the queue", "fetch_upload", "drop_forgotten_runs", "prepare"])
def test_a_resumed_training_keeps_its_best_wherever_it_is_cancelled(
    new_training: NewTraining, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    bench = new_training(kimg=0.4)
    interrupt_after(bench, monkeypatch, 40)
    if place == "in the queue":
        bench.ledger.cancel("gen-job")
    else:
        shutil.rmtree(bench.settings.data_dir / "trainings" / "gen-job" / "images")  # they are read again
        owner: Any = generator_train._Watch if place == "prepare" else generator_train
        monkeypatch.setattr(owner, place, cancelling(getattr(owner, place), bench))
    generator_train.run("gen-job")
    job = bench.ledger.get("gen-job")
    assert (job.state, job.error) == (JobState.CANCELLED, None)
    assert any("Cancelled after 40 images; its best snapshot was kept" in note for note in job.notes)
    assert any("Fréchet distance" in note for note in job.notes)
    assert best_images(bench) == 32


def test_a_resumed_training_s_rate_is_that_of_what_it_shows_now(
    new_training: NewTraining, monkeypatch: pytest.MonkeyPatch, redis: redis_client.Redis
) -> None:
    bench = new_training(kimg=0.4)
    interrupt_after(bench, monkeypatch, 40)
    redis.flushall()
    monkeypatch.setattr("models.training.trainer.REPORT_EVERY_S", 0.0)
    generator_train.run("gen-job")
    before = redis.hget("labelmint:job:gen-job", "before")
    assert before is not None
    assert 40 <= int(before) < 400
    assert bench.ledger.get("gen-job").state is JobState.SUCCEEDED


def test_a_cancelled_training_keeps_its_best_when_redis_is_wiped(
    new_training: NewTraining, monkeypatch: pytest.MonkeyPatch, redis: redis_client.Redis
) -> None:
    bench = new_training(kimg=0.4)
    interrupt_after(bench, monkeypatch, 40)
    bench.ledger.cancel("gen-job")
    redis.flushall()
    assert recover(bench.ledger, bench.queue) == 1
    assert redis.lrange("rq:queue:labelmint", 0, -1) == [b"gen-job-train"]
    generator_train.run("gen-job")
    job = bench.ledger.get("gen-job")
    assert (job.state, job.error) == (JobState.CANCELLED, None)
    assert any("Cancelled after 40 images; its best snapshot was kept" in note for note in job.notes)
    assert best_images(bench) == 32


@pytest.mark.usefixtures("retried")
def test_a_cancelled_training_waits_for_the_store(new_training: NewTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = new_training(kimg=0.4)
    interrupt_after(bench, monkeypatch, 40)
    bench.ledger.cancel("gen-job")
    with monkeypatch.context() as patch:

        def out(*_: object, **__: object) -> None:
            raise StoreUnavailable("for a moment")

        patch.setattr("workers.training_end.publish_generator", out)
        with pytest.raises(StoreUnavailable):
            generator_train.run("gen-job")
    assert bench.ledger.get("gen-job").state is JobState.CANCELLING
    generator_train.run("gen-job")
    assert bench.ledger.get("gen-job").state is JobState.CANCELLED
    assert best_images(bench) == 32


def test_a_time_limit_is_no_cancellation(new_training: NewTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = new_training()
    monkeypatch.setattr(generator_train, "_SHARE_OF_TIME", -1.0)
    generator_train.run("gen-job")
    job = bench.ledger.get("gen-job")
    assert (job.state, job.notes) == (JobState.FAILED, [])
    assert job.error is not None
    assert job.error.code == "timeout"
    assert "LABELMINT_TRAIN_TIMEOUT_S" in job.error.message


def test_a_training_ends_within_the_time_that_the_queue_gives_it(
    new_training: NewTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who put it there may have another setting than the worker; beyond that limit it would be cut off."""
    bench = new_training()
    assert bench.settings.train_timeout_s > 3600
    part = SimpleNamespace(timeout=0, id="gen-job-train", retries_left=0, meta={}, func_name="")
    monkeypatch.setattr(generator_train, "get_current_job", lambda: part)
    generator_train.run("gen-job")
    error = bench.ledger.get("gen-job").error
    assert error is not None
    assert error.code == "timeout"


def test_the_best_of_a_training_that_ended_without_a_worker_is_published(
    new_training: NewTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_training(kimg=0.4)
    interrupt_after(bench, monkeypatch, 40)
    another = replace(bench, job_id="another")
    drop_forgotten_runs(another)
    assert find_generator(bench.store, "mine") is None, "it has not ended"
    bench.ledger.fail("gen-job", WORKER_LOST)
    drop_forgotten_runs(another)
    assert best_images(bench) == 32
