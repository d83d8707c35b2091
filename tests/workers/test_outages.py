"""A store or a Redis that is out costs a job time, and nothing else."""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
import redis as redis_client
from moto.server import ThreadedMotoServer
from rq import Queue, Retry
from rq.serializers import JSONSerializer

from service.embedded_redis import EmbeddedRedis
from service.ledger import Ledger
from service.queue import QUEUE_NAME, JobQueue
from service.records import JobRecord, JobState
from service.redis_client import connect
from service.requests import FitRequest, GenerateRequest
from service.settings import Settings
from service.stores import FileStore, S3Store
from tests.workers.processes import children_of, light_worker, wait_for
from workers import sweep
from workers.lifeline import is_running
from workers.recover import recover
from workers.sweep import Sweeper

WIP = f"rq:wip:{QUEUE_NAME}"


def accept(ledger: Ledger, job_id: str = "job") -> None:
    ledger.accept(JobRecord(id=job_id, request=GenerateRequest(project_id="none", count=1)))


def enqueue(redis: redis_client.Redis, body: str, tally: Path) -> None:
    queue = Queue(QUEUE_NAME, connection=redis, serializer=JSONSerializer)
    arguments = ("job", str(tally))
    queue.enqueue_call(f"tests.workers.bodies.{body}", arguments, job_id="part", retry=Retry(max=3), timeout=120)
    JobQueue(redis).mark_complete()


def calls(tally: Path) -> int:
    return tally.stat().st_size if tally.exists() else 0


class Bucket:
    """An S3 server at one address, which can be stopped and started again; it remembers what it holds."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self._port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self._port}"
        boto3.client("s3", endpoint_url=self.url, region_name="us-east-1").create_bucket(Bucket=self.name)

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    bucket = Bucket()
    yield bucket
    bucket.stop()


@pytest.fixture
def in_bucket(settings: Settings, bucket: Bucket) -> Settings:
    return settings.model_copy(update={"store_url": f"s3://{bucket.name}", "s3_endpoint_url": bucket.url})


def put_off(log: Path) -> int:
    return log.read_text().count("put off while a service is out")


def test_a_job_outlasts_an_outage_of_the_store_without_losing_a_retry(
    redis: redis_client.Redis, bucket: Bucket, in_bucket: Settings, tmp_path: Path
) -> None:
    ledger = Ledger(S3Store(bucket.name, endpoint_url=bucket.url), redis, 3600)
    accept(ledger)
    log, tally = tmp_path / "worker.log", tmp_path / "tally"
    enqueue(redis, "go_on_when_told", tally)
    with light_worker(in_bucket, log):
        wait_for(lambda: calls(tally) == 1, 60, "the part runs")
        bucket.stop()
        (tmp_path / "go").touch()
        wait_for(lambda: put_off(log) >= 6, 120, "it has met the outage more often than it has retries")
        bucket.start()
        wait_for(lambda: ledger.get("job").state.is_terminal, 60, "the job has ended")
    assert ledger.get("job").state is JobState.SUCCEEDED
    assert redis.hget("rq:job:part", "retries_left") == b"3"


def test_a_job_whose_store_was_out_for_too_long_fails_with_words_for_that(
    redis: redis_client.Redis, bucket: Bucket, in_bucket: Settings, tmp_path: Path
) -> None:
    """They can only be said when the store is back, by a worker that was not there."""
    ledger = Ledger(S3Store(bucket.name, endpoint_url=bucket.url), redis, 3600)
    accept(ledger)
    tally = tmp_path / "tally"
    enqueue(redis, "go_on_when_told", tally)
    bucket.stop()
    with light_worker(in_bucket, tmp_path / "worker.log", patience_s=0.5):
        wait_for(lambda: redis.zcard(f"rq:failed:{QUEUE_NAME}") == 1, 120, "the part is given up")
    bucket.start()
    with light_worker(in_bucket, tmp_path / "worker.log"):
        wait_for(lambda: ledger.get("job").state.is_terminal, 60, "the job has ended")
    error = ledger.get("job").error
    assert error is not None
    assert error.code == "store-unavailable"
    assert calls(tally) == 0


def test_what_a_store_refuses_for_good_ends_the_job_when_patience_does(
    redis: redis_client.Redis, store: FileStore, settings: Settings, tmp_path: Path
) -> None:
    ledger = Ledger(store, redis, 3600)
    accept(ledger)
    tally = tmp_path / "tally"
    enqueue(redis, "lose_the_store", tally)
    with light_worker(settings, tmp_path / "worker.log", patience_s=4.0):
        wait_for(lambda: ledger.get("job").state.is_terminal, 60, "the job has ended")
    error = ledger.get("job").error
    assert error is not None
    assert error.code == "store-unavailable"
    assert 4 < calls(tally) < 40


class Server(EmbeddedRedis):
    """One that can be started again at its address, empty."""

    def restart(self) -> None:
        self._process = self._start()
        assert self._wait_until_ready()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "redis") as server:
        yield server


def test_a_running_part_outlasts_a_restart_of_redis_and_waiting_jobs_are_taken_up(
    server: Server, store: FileStore, settings: Settings, tmp_path: Path
) -> None:
    connection = connect(server.url)
    ledger = Ledger(store, connection, 3600)
    accept(ledger)
    accept(ledger, "waiting")
    log, tally = tmp_path / "worker.log", tmp_path / "tally"
    enqueue(connection, "go_on_when_told", tally)
    with light_worker(settings.model_copy(update={"redis_url": server.url}), log) as worker:
        wait_for(lambda: calls(tally) == 1, 60, "the part runs")
        (child,) = children_of(worker.pid)
        server.close()
        wait_for(lambda: log.read_text().count("Redis cannot be reached") >= 2, 60, "the worker has missed it twice")
        server.restart()
        wait_for(lambda: connection.zcard(WIP) == 1, 30, "the worker has said what it does")
        assert connection.hget("rq:job:part", "status") == b"started"
        wait_for(lambda: ledger.get("job").state is JobState.RUNNING, 10, "the job runs again")
        assert connection.scard("rq:workers") == 1
        assert worker.poll() is None
        assert is_running(child)
        (tmp_path / "go").touch()
        wait_for(lambda: ledger.get("job").state.is_terminal, 30, "the job has ended")
        assert ledger.get("job").state is JobState.SUCCEEDED
        wait_for(lambda: bool(connection.exists("rq:job:waiting-fit")), 60, "the waiting job is taken up")
    assert calls(tally) == 1


def test_a_job_waits_for_a_redis_that_is_out_at_its_end(
    server: Server, store: FileStore, settings: Settings, tmp_path: Path
) -> None:
    """It cannot be put back into a queue that is not there."""
    connection = connect(server.url)
    ledger = Ledger(store, connection, 3600)
    accept(ledger)
    log, tally = tmp_path / "worker.log", tmp_path / "tally"
    enqueue(connection, "go_on_when_told", tally)
    with light_worker(settings.model_copy(update={"redis_url": server.url}), log):
        wait_for(lambda: calls(tally) == 1, 60, "the part runs")
        server.close()
        (tmp_path / "go").touch()
        wait_for(lambda: put_off(log) == 1, 60, "the part has met the outage")
        wait_for(lambda: "Redis cannot be reached" in log.read_text(), 60, "the worker has missed it, too")
        server.restart()
        wait_for(lambda: ledger.get("job").state.is_terminal, 60, "the job has ended")
    assert ledger.get("job").state is JobState.SUCCEEDED
    assert calls(tally) == 2
    assert connection.hget("rq:job:part", "retries_left") == b"3"


def test_a_worker_that_was_given_up_for_dead_abandons_what_another_has_taken_over(
    redis: redis_client.Redis, store: FileStore, settings: Settings, tmp_path: Path
) -> None:
    accept(Ledger(store, redis, 3600))
    tally = tmp_path / "tally"
    enqueue(redis, "linger_always", tally)
    with light_worker(settings, tmp_path / "first.log") as first:
        wait_for(lambda: calls(tally) == 1, 60, "the part runs")
        (child,) = children_of(first.pid)
        (name,) = redis.smembers("rq:workers")
        os.kill(first.pid, signal.SIGSTOP)
        redis.delete(name)
        with light_worker(settings, tmp_path / "second.log") as second:
            wait_for(lambda: calls(tally) == 2, 60, "another worker has taken over")
            assert is_running(child)
            os.kill(first.pid, signal.SIGCONT)
            first.wait(30)
            assert not is_running(child)
            assert second.poll() is None
    assert calls(tally) == 2


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time that the sweep goes by."""

    def at(moment: float) -> None:
        monkeypatch.setattr(sweep.time, "monotonic", lambda: moment)

    return at


def test_an_empty_redis_is_filled_once_when_every_worker_had_time_to_speak(
    redis: redis_client.Redis, store: FileStore, settings: Settings, unhurried: Callable[[float], None]
) -> None:
    ledger, queue = Ledger(store, redis, 3600), JobQueue(redis, settings)
    ledger.accept(JobRecord(id="job", request=FitRequest(project_id="none")))
    sweeper = Sweeper(redis, ledger, queue)

    def enqueued_at(moment: float) -> bool:
        unhurried(moment)
        sweeper.sweep()
        return bool(redis.exists("rq:job:job-fit"))

    assert [enqueued_at(moment) for moment in (100.0, 119.0, 121.0)] == [False, False, True]
    redis.delete("rq:job:job-fit", f"rq:queue:{QUEUE_NAME}")
    assert not enqueued_at(200.0), "Redis remembers"
    redis.flushall()
    assert [enqueued_at(moment) for moment in (300.0, 321.0)] == [False, True]


def test_a_recovery_by_hand_counts(redis: redis_client.Redis, store: FileStore, settings: Settings) -> None:
    queue = JobQueue(redis, settings)
    assert queue.is_blank()
    recover(Ledger(store, redis, 3600), queue)
    assert not queue.is_blank()
