"""The queue over a real server: one entry per part, and parts that died come back."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import ConnectionError as RedisConnectionError
from redis import Redis
from rq import Queue, Worker
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from service.queue import QUEUE_NAME, TRAIN_RETRIES, JobQueue
from service.records import JobRecord
from service.requests import TrainRequest
from service.settings import Settings


@pytest.fixture
def queue(redis: Redis, settings: Settings) -> JobQueue:
    return JobQueue(redis, settings)


@pytest.fixture
def entries(redis: Redis) -> Queue:
    return Queue(QUEUE_NAME, connection=redis, serializer=JSONSerializer)


def fetch(redis: Redis, part: str) -> Job:
    return Job.fetch(part, connection=redis, serializer=JSONSerializer)


def test_parts_are_named_by_dotted_path_and_limited(
    queue: JobQueue, entries: Queue, redis: Redis, settings: Settings
) -> None:
    queue.enqueue_fit("j1")
    queue.enqueue_shard("j1", 3)
    queue.enqueue_package("j1")
    assert entries.job_ids == ["j1-fit", "j1-shard-00003", "j1-package"]
    fit, shard, package = (fetch(redis, part) for part in entries.job_ids)
    assert (fit.func_name, fit.args, fit.timeout) == ("workers.fit.run", ["j1"], settings.fit_timeout_s)
    assert (shard.func_name, shard.args, shard.timeout) == ("workers.shard.run", ["j1", 3], settings.shard_timeout_s)
    assert (package.func_name, package.timeout) == ("workers.package.run", settings.package_timeout_s)
    for job in (fit, shard, package):
        assert job.retries_left == 3
        assert None not in (job.result_ttl, job.failure_ttl)
        assert redis.ttl(job.key) == -1, "what waits in the queue never expires"


def test_a_training_is_retried_as_often_as_workers_come_and_go(queue: JobQueue, redis: Redis) -> None:
    request = TrainRequest(generator_id="mine", name="Mine", sha256="0")
    assert fetch(redis, queue.enqueue_job(JobRecord(id="gen-1", request=request))).retries_left == TRAIN_RETRIES > 100


def test_a_job_is_idle_unless_a_part_of_it_waits_or_is_in_hand(queue: JobQueue, entries: Queue, redis: Redis) -> None:
    jobs = ["gen-1", "j", "j1", "j2", "j3"]
    assert queue.idle(jobs) == jobs
    queue.enqueue_fit("j1")
    queue.enqueue_shard("j2", 3)
    queue.enqueue_package("gen-1")
    assert queue.idle(jobs) == ["j", "j3"]
    redis.lmove(entries.key, entries.intermediate_queue_key, "LEFT", "RIGHT")
    assert queue.idle(jobs) == ["j", "j3"], "one is between queue and worker"
    worker = Worker([entries], connection=redis)
    part = fetch(redis, "j2-shard-00003")
    entries.remove(part)
    worker.prepare_execution(part)
    assert queue.idle(jobs) == ["j", "j3"], "one is in hand"
    entries.empty()
    assert queue.idle(jobs) == ["gen-1", "j", "j3"]


def test_a_queued_part_is_queued_once(queue: JobQueue, entries: Queue) -> None:
    assert queue.enqueue_fit("j1") == queue.enqueue_fit("j1") == "j1-fit"
    assert entries.job_ids == ["j1-fit"]


def test_a_part_between_queue_and_worker_is_left_alone(queue: JobQueue, entries: Queue, redis: Redis) -> None:
    queue.enqueue_fit("j1")
    redis.lmove(entries.key, entries.intermediate_queue_key, "LEFT", "RIGHT")
    queue.enqueue_fit("j1")
    assert entries.job_ids == []


def test_a_part_lost_from_the_queue_comes_back(queue: JobQueue, entries: Queue, redis: Redis) -> None:
    queue.enqueue_fit("j1")
    redis.delete(entries.key)
    queue.enqueue_fit("j1")
    assert entries.job_ids == ["j1-fit"]


@pytest.mark.parametrize("heartbeat_s", [60, -1])
def test_a_running_part_is_replaced_only_when_its_worker_is_lost(
    queue: JobQueue, entries: Queue, redis: Redis, heartbeat_s: int
) -> None:
    queue.enqueue_fit("j1")
    redis.delete(entries.key)
    fetch(redis, "j1-fit").set_status(JobStatus.STARTED)
    redis.zadd(f"rq:wip:{QUEUE_NAME}", {"j1-fit:execution": time.time() + heartbeat_s})
    queue.enqueue_fit("j1")
    assert entries.job_ids == ([] if heartbeat_s > 0 else ["j1-fit"])


@pytest.mark.parametrize("status", [JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED])
def test_a_part_that_ended_is_replaced(queue: JobQueue, entries: Queue, redis: Redis, status: JobStatus) -> None:
    queue.enqueue_fit("j1")
    redis.delete(entries.key)
    fetch(redis, "j1-fit").set_status(status)
    queue.enqueue_fit("j1")
    assert entries.job_ids == ["j1-fit"]
    assert fetch(redis, "j1-fit").get_status() is JobStatus.QUEUED


def test_a_job_is_at_work_while_a_worker_gives_signs_of_life(queue: JobQueue, redis: Redis) -> None:
    queue.enqueue_fit("j1")
    redis.zadd(f"rq:wip:{QUEUE_NAME}", {"j10-fit:execution": time.time() + 60, "j1-fit:lost": time.time() - 1})
    assert not queue.is_at_work("j1")
    redis.zadd(f"rq:wip:{QUEUE_NAME}", {"j1-shard-00003:execution": time.time() + 60})
    assert queue.is_at_work("j1")


def test_ping_needs_a_server(queue: JobQueue, settings: Settings, tmp_path: Path) -> None:
    queue.ping()
    nobody = Redis(unix_socket_path=str(tmp_path / "nobody.sock"))
    with pytest.raises(RedisConnectionError):
        JobQueue(nobody, settings).ping()


def test_workers_are_counted(queue: JobQueue, redis: Redis) -> None:
    assert queue.workers() == 0
    listening = Worker([Queue(QUEUE_NAME, connection=redis)], connection=redis)
    listening.register_birth()
    assert queue.workers() == 1
    redis.expire(listening.key, 0)
    assert queue.workers() == 0, "it was killed, and no other worker has cleared up after it"
    listening = Worker([Queue(QUEUE_NAME, connection=redis)], connection=redis)
    listening.register_birth()
    listening.register_death()
    assert queue.workers() == 0


def test_parts_that_wait_are_counted_and_the_oldest_tells_since_when(queue: JobQueue, redis: Redis) -> None:
    assert queue.waiting() == (0, 0.0)
    queue.enqueue_fit("j1")
    queue.enqueue_fit("j2")
    since = datetime.now(UTC) - timedelta(hours=1)
    redis.hset("rq:job:j1-fit", "enqueued_at", utcformat(since))
    parts, oldest_s = queue.waiting()
    assert parts == 2
    assert oldest_s == pytest.approx(3600, abs=30)
    redis.hset("rq:job:j1-fit", "enqueued_at", utcformat(datetime.now(UTC) + timedelta(hours=1)))
    assert queue.waiting() == (2, 0.0), "another machine's clock may be ahead"
    redis.delete("rq:job:j1-fit")
    assert queue.waiting() == (2, None)
