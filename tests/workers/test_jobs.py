"""Jobs from their first part to their zip, on real workers, whatever happens on the way."""

import hashlib
import io
import json
import time
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
import redis as redis_client

from labelmint.verify import verify_png_zip
from service.records import JobRecord, JobState, Phase, dataset_key, now, shard_key
from service.settings import Settings
from tests.workers.conftest import NewJob
from tests.workers.processes import kill, wait_for, worker
from tests.workers.world import SIZE
from workers.fit import start_job
from workers.recover import recover
from workers.shard import make_shard
from workers.workbench import Workbench


def has_ended(bench: Workbench) -> bool:
    return bench.ledger.get(bench.job_id).state.is_terminal


def is_halfway(bench: Workbench) -> bool:
    job = bench.ledger.get(bench.job_id)
    return job.phase is Phase.GENERATE and job.progress.done > 0


def zip_of(bench: Workbench) -> bytes:
    job = bench.ledger.get(bench.job_id)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    return bench.store.read(job.outputs["png"])


def check_zip(bench: Workbench, tmp_path: Path) -> None:
    path = tmp_path / "dataset.zip"
    path.write_bytes(zip_of(bench))
    contents = verify_png_zip(path, bench.job.request.count)
    assert contents.size == (SIZE, SIZE)


def test_a_job_becomes_a_dataset(new_job: NewJob, settings: Settings, tmp_path: Path) -> None:
    bench = new_job("job", count=30, shard_size=8)
    bench.queue.enqueue_fit("job")
    with worker(settings, tmp_path / "worker.log"):
        wait_for(lambda: has_ended(bench), 60, "the job has ended")
    check_zip(bench, tmp_path)
    job = bench.ledger.get("job")
    assert (job.shards, job.phase, job.progress.done, job.progress.total) == (4, Phase.PACKAGE, 30, 30)
    with zipfile.ZipFile(io.BytesIO(zip_of(bench))) as archive:
        facts = json.loads(archive.read("dataset.json"))
        assert "| 2 | light |" in archive.read("README.md").decode()
    assert facts["generator"]["sha256"] == bench.generator.sha256
    assert (facts["job_seed"], facts["truncation"], facts["discard_fraction"]) == (1, 1.0, 0.1)
    assert facts["versions"].keys() >= {"torch", "numpy"}
    manifest = json.loads(bench.store.read(dataset_key("job", "manifest.json")))
    assert [shard["count"] for shard in manifest["shards"]] == [8, 8, 8, 6]
    for key in (manifest["card"]["key"], manifest["preview"]["key"], *(shard["key"] for shard in manifest["shards"])):
        assert bench.store.exists(key)


def test_one_worker_or_two_make_the_same_bytes(new_job: NewJob, settings: Settings, tmp_path: Path) -> None:
    """With shards of different sizes, too: a sample depends on the job's seed and its index alone."""
    alone, together = new_job("alone", count=60, shard_size=60), new_job("together", count=60, shard_size=7)
    alone.queue.enqueue_fit("alone")
    with worker(settings, tmp_path / "worker-1.log"):
        wait_for(lambda: has_ended(alone), 60, "the first job has ended")
        with worker(settings, tmp_path / "worker-2.log"):
            wait_for(lambda: alone.redis.scard("rq:workers") == 2, 30, "the second worker has started")
            together.queue.enqueue_fit("together")
            wait_for(lambda: has_ended(together), 60, "the second job has ended")
    assert hashlib.sha256(zip_of(alone)).hexdigest() == hashlib.sha256(zip_of(together)).hexdigest()
    makers = {line.split()[-1] for line in (tmp_path / "worker-2.log").read_text().splitlines() if "shard" in line}
    assert makers, "the second worker made no shard"


def test_a_killed_worker_costs_its_shard_and_nothing_else(new_job: NewJob, settings: Settings, tmp_path: Path) -> None:
    bench = new_job("job", count=1200, shard_size=240)
    bench.queue.enqueue_fit("job")
    with worker(settings, tmp_path / "first.log") as first:
        wait_for(lambda: bench.store.exists(shard_key("job", 0)), 60, "a shard is there")
        kill(first.pid)
    finished = [shard for shard in range(5) if bench.store.exists(shard_key("job", shard))]
    assert len(finished) < 5
    before = {shard: bench.store.read(shard_key("job", shard)) for shard in finished}
    with worker(settings, tmp_path / "second.log"):
        wait_for(lambda: has_ended(bench), 90, "the job has ended")
    check_zip(bench, tmp_path)
    assert before == {shard: bench.store.read(shard_key("job", shard)) for shard in finished}


def test_a_wiped_redis_costs_no_job(
    new_job: NewJob, settings: Settings, redis: redis_client.Redis, tmp_path: Path
) -> None:
    bench = new_job("job", count=1000, shard_size=250)
    bench.queue.enqueue_fit("job")
    with worker(settings, tmp_path / "worker.log"):
        wait_for(lambda: is_halfway(bench), 60, "some samples are made")
        redis.flushall()
        assert recover(bench.ledger, bench.queue) == 1
        wait_for(lambda: has_ended(bench), 90, "the job has ended")
    check_zip(bench, tmp_path)
    assert recover(bench.ledger, bench.queue) == 0


def test_rate_and_eta_are_those_since_the_job_was_taken_up_again(new_job: NewJob, redis: redis_client.Redis) -> None:
    bench = new_job("job", count=40, shard_size=10)
    for shard in range(3):
        make_shard(bench, shard)
    redis.flushall()
    began = time.monotonic()
    start_job(bench)
    assert (bench.ledger.get("job").progress.done, bench.ledger.get("job").progress.rate) == (30, None)
    bench.ledger.advance_shard("job", 3, 5)
    progress = bench.ledger.get("job").progress
    assert progress.rate is not None
    assert progress.eta_s is not None
    assert 5 / (time.monotonic() - began) < progress.rate
    assert progress.eta_s == pytest.approx(5 / progress.rate)
    time.sleep(0.5)
    rate = bench.ledger.get("job").progress.rate
    assert rate is not None
    assert rate < 5 / 0.5


def test_a_wiped_redis_costs_no_cancellation(
    new_job: NewJob, settings: Settings, redis: redis_client.Redis, tmp_path: Path
) -> None:
    """Neither while a worker is at the job, nor when it is taken up again."""
    bench = new_job("job", count=20_000, shard_size=20_000)
    bench.queue.enqueue_fit("job")
    with worker(settings, tmp_path / "worker.log"):
        wait_for(lambda: is_halfway(bench), 60, "some samples are made")
        bench.ledger.cancel("job")
        redis.flushall()
        wait_for(lambda: has_ended(bench), 10, "the job has ended")
    assert bench.ledger.get("job").state is JobState.CANCELLED
    waiting = new_job("waiting", count=30, shard_size=8)
    waiting.ledger.start("waiting")
    waiting.ledger.cancel("waiting")
    redis.flushall()
    assert recover(waiting.ledger, waiting.queue) == 0
    assert waiting.ledger.get("waiting").state is JobState.CANCELLED
    assert redis.llen("rq:queue:labelmint") == 0


def test_jobs_are_taken_up_in_the_order_they_came(new_job: NewJob, redis: redis_client.Redis) -> None:
    for age, job_id in enumerate(["m", "z", "a"]):
        bench = new_job(job_id, count=1, shard_size=1)
        older = bench.ledger.get(job_id).model_copy(update={"created": now() - timedelta(hours=age)})
        bench.store.put(JobRecord.key(job_id), older.model_dump_json().encode())
    redis.flushall()
    assert recover(bench.ledger, bench.queue) == 3
    assert redis.lrange("rq:queue:labelmint", 0, -1) == [b"a-fit", b"z-fit", b"m-fit"]


def test_a_cancelled_job_stops_soon(new_job: NewJob, settings: Settings, tmp_path: Path) -> None:
    bench = new_job("job", count=20_000, shard_size=2000)
    bench.queue.enqueue_fit("job")
    with worker(settings, tmp_path / "worker.log"):
        wait_for(lambda: is_halfway(bench), 60, "some samples are made")
        assert bench.ledger.cancel("job") is JobState.CANCELLING
        wait_for(lambda: has_ended(bench), 10, "the job has ended")
        wait_for(lambda: bench.redis.llen("rq:queue:labelmint") == 0, 30, "its other parts are put down")
    assert bench.ledger.get("job").state is JobState.CANCELLED
    assert not bench.store.exists(dataset_key("job", "png.zip"))


def test_a_job_whose_project_is_gone_fails_with_words(new_job: NewJob, settings: Settings, tmp_path: Path) -> None:
    bench = new_job("job", count=10, shard_size=10)
    bench.store.delete_prefix("projects/")
    bench.queue.enqueue_fit("job")
    with worker(settings, tmp_path / "worker.log"):
        wait_for(lambda: has_ended(bench), 60, "the job has ended")
    error = bench.ledger.get("job").error
    assert error is not None
    assert (error.code, error.retry) == ("project-missing", False)
    assert "project-1" in error.message
