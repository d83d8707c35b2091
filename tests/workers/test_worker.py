"""The forking worker and the sweep: work is not lost with those who did it, and nothing hangs as running."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
import redis as redis_client
from rq import Queue, Retry
from rq.serializers import JSONSerializer

from service.ledger import Ledger
from service.queue import QUEUE_NAME, JobQueue
from service.records import EventType, JobRecord, JobState
from service.requests import GenerateRequest
from service.settings import Settings
from service.stores import FileStore
from tests.workers import processes
from tests.workers.processes import children_of, kill, wait_for
from workers.health import is_healthy
from workers.lifeline import is_running
from workers.public_errors import JobFailure
from workers.training_starts import MOST_STARTS, Starts, run_folder

Start = Callable[[], AbstractContextManager[Popen[bytes]]]


@pytest.fixture
def ledger(store: FileStore, redis: redis_client.Redis) -> Ledger:
    ledger = Ledger(store, redis, 3600)
    JobQueue(redis).mark_complete()
    ledger.accept(JobRecord(id="job", request=GenerateRequest(project_id="none", count=1)))
    ledger.start("job")
    return ledger


@pytest.fixture
def tally(tmp_path: Path) -> Path:
    return tmp_path / "tally"


@pytest.fixture
def enqueue(redis: redis_client.Redis, tally: Path) -> Callable[[str], None]:
    queue = Queue(QUEUE_NAME, connection=redis, serializer=JSONSerializer)

    def enqueue(body: str) -> None:
        queue.enqueue_call(
            f"tests.workers.bodies.{body}",
            args=("job", str(tally)),
            job_id="part",
            retry=Retry(max=3),
            timeout=2 if body == "overrun" else 60,
        )

    return enqueue


@pytest.fixture
def light_worker(settings: Settings, tmp_path: Path) -> Start:
    @contextmanager
    def start() -> Iterator[Popen[bytes]]:
        with processes.light_worker(settings, tmp_path / "worker.log") as process:
            yield process

    return start


def calls(tally: Path) -> int:
    return tally.stat().st_size if tally.exists() else 0


def interruptions(ledger: Ledger) -> list[dict[str, str]]:
    return [event.data for event in ledger.history("job").log if event.type is EventType.INTERRUPTED]


def is_done(redis: redis_client.Redis) -> bool:
    return redis.hget("rq:job:part", "status") == b"finished"


def test_a_part_whose_child_is_always_killed_fails_the_job(
    ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tally: Path
) -> None:
    enqueue("die")
    with light_worker():
        wait_for(lambda: ledger.get("job").state.is_terminal, 60, "the job has ended")
    job = ledger.get("job")
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "worker-lost"
    assert calls(tally) == 4
    assert interruptions(ledger) == [{"part": "part", "reason": "worker-lost"}]


def test_a_part_whose_child_is_killed_once_is_done_again(
    redis: redis_client.Redis, ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tally: Path
) -> None:
    enqueue("die_once")
    with light_worker():
        wait_for(lambda: is_done(redis), 60, "the part is done")
    assert calls(tally) == 2
    assert ledger.get("job").state is JobState.RUNNING
    assert interruptions(ledger) == [{"part": "part", "reason": "worker-lost"}]


def test_an_exception_that_leaves_the_body_fails_the_job_in_the_end(
    ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tally: Path
) -> None:
    enqueue("break_unforeseen")
    with light_worker():
        wait_for(lambda: ledger.get("job").state.is_terminal, 60, "the job has ended")
    assert ledger.get("job").state is JobState.FAILED
    assert calls(tally) == 4


def test_every_line_of_a_workers_log_is_json_and_a_failure_keeps_its_traceback(
    redis: redis_client.Redis, ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tmp_path: Path
) -> None:
    enqueue("break_once")
    with light_worker() as process:
        wait_for(lambda: is_done(redis), 60, "the part is done")
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    lines = [json.loads(line) for line in (tmp_path / "worker.log").read_text().splitlines()]
    events = [
        "worker started",
        "part begun",
        "part failed",
        "part begun",
        "part done",
        "told to stop",
        "worker stopped",
    ]
    assert [line["event"] for line in lines] == events
    assert {line.get("part") for line in lines[1:5]} == {"part"}
    assert lines[2]["exception"][0]["exc_value"] == "not foreseen"
    assert 0 <= lines[4]["seconds"] < 10


def test_a_body_that_takes_too_long_fails_the_job_at_once(
    ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tally: Path
) -> None:
    enqueue("overrun")
    with light_worker():
        wait_for(lambda: ledger.get("job").state.is_terminal, 60, "the job has ended")
    error = ledger.get("job").error
    assert error is not None
    assert error.code == "timeout"
    assert calls(tally) == 1
    assert interruptions(ledger) == []


def test_an_outage_is_retried(ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tally: Path) -> None:
    enqueue("lose_the_store_once")
    with light_worker():
        wait_for(lambda: ledger.get("job").state.is_terminal, 60, "the job has ended")
    assert ledger.get("job").state is JobState.SUCCEEDED
    assert calls(tally) == 2
    assert interruptions(ledger) == [{"part": "part", "reason": "store-unavailable"}]


def test_a_new_worker_takes_over_from_a_killed_one_at_once(
    redis: redis_client.Redis, ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tally: Path
) -> None:
    enqueue("linger")
    with light_worker() as first:
        wait_for(lambda: calls(tally) == 1, 60, "the part runs")
        (child,) = children_of(first.pid)
        kill(first.pid)
        first.wait()
        wait_for(lambda: not is_running(child), 5, "the child has died with its worker")
    with light_worker():
        assert wait_for(lambda: is_done(redis), 60, "the part is done") < 15
    assert calls(tally) == 2
    assert interruptions(ledger) == [{"part": "part", "reason": "worker-lost"}]


def test_a_living_worker_takes_over_from_a_killed_one(
    redis: redis_client.Redis, ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tally: Path
) -> None:
    enqueue("linger")
    with light_worker() as first:
        wait_for(lambda: calls(tally) == 1, 60, "the part runs")
        with light_worker():
            wait_for(lambda: redis.scard("rq:workers") == 2, 60, "the second worker has started")
            kill(first.pid)
            first.wait()
            assert wait_for(lambda: is_done(redis), 60, "the part is done") < 30
    assert calls(tally) == 2


def test_a_worker_of_another_place_counts_as_dead_when_its_trace_has_run_out(
    redis: redis_client.Redis, ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tally: Path
) -> None:
    """Its process cannot be looked for; only Redis knows of it."""
    enqueue("linger")
    with light_worker() as first:
        wait_for(lambda: calls(tally) == 1, 60, "the part runs")
        (name,) = redis.smembers("rq:workers")
        kill(first.pid)
        first.wait()
        redis.hset(name, "place", "elsewhere")
        assert 0 < redis.ttl(name) <= 20
    with light_worker():
        wait_for(lambda: redis.scard("rq:workers") == 2, 60, "the second worker has started")
        time.sleep(1)
        assert not is_done(redis)
        redis.expire(name, 0)
        wait_for(lambda: is_done(redis), 10, "the part is done")


def test_the_first_signal_lets_the_part_end_and_the_second_abandons_it(
    redis: redis_client.Redis, ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tally: Path
) -> None:
    enqueue("linger")
    with light_worker() as first:
        wait_for(lambda: calls(tally) == 1, 60, "the part runs")
        (child,) = children_of(first.pid)
        first.send_signal(signal.SIGTERM)
        with pytest.raises(Exception, match="timed out"):
            first.wait(1.5)
        first.send_signal(signal.SIGTERM)
        first.wait(5)
        assert not is_running(child)
    with light_worker():
        wait_for(lambda: is_done(redis), 60, "the part is done")
    assert redis.hget("rq:job:part", "retries_left") == b"3"
    assert interruptions(ledger) == [{"part": "part", "reason": "worker-stopped"}]


@pytest.fixture
def starts(settings: Settings) -> Starts:
    """Those of a training that must not begin from the same images again."""
    folder = run_folder(settings.data_dir, "job")
    folder.mkdir(parents=True)
    starts = Starts(folder)
    for _ in range(MOST_STARTS):
        starts.count(-1)
    return starts


def test_a_part_that_is_abandoned_began_for_nothing_and_at_no_cost(
    ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tally: Path, starts: Starts
) -> None:
    enqueue("linger")
    with light_worker() as process:
        wait_for(lambda: calls(tally) == 1, 60, "the part runs")
        process.send_signal(signal.SIGTERM)
        time.sleep(1.2)
        process.send_signal(signal.SIGTERM)
        process.wait(5)
    starts.count(-1)
    with pytest.raises(JobFailure):
        starts.count(-1)


def test_one_signal_is_enough_when_the_grace_is_over(
    redis: redis_client.Redis,
    ledger: Ledger,
    enqueue: Callable[[str], None],
    settings: Settings,
    tmp_path: Path,
    tally: Path,
    starts: Starts,
) -> None:
    """Docker sends one, and then kills."""
    hasty = settings.model_copy(update={"stop_grace_s": 2})
    enqueue("linger")
    with processes.light_worker(hasty, tmp_path / "worker.log") as process:
        wait_for(lambda: calls(tally) == 1, 60, "the part runs")
        (child,) = children_of(process.pid)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.wait(10)
        assert 1.5 < time.monotonic() - began < 5
        assert not is_running(child)
    starts.count(-1)
    with processes.light_worker(settings, tmp_path / "worker.log"):
        wait_for(lambda: is_done(redis), 60, "the part is done")
    assert redis.hget("rq:job:part", "retries_left") == b"3"


def test_a_worker_is_healthy_as_long_as_it_gives_signs_of_life(
    redis: redis_client.Redis, settings: Settings, light_worker: Start
) -> None:
    url = str(settings.redis_url)
    assert not is_healthy(url)
    with light_worker():
        wait_for(lambda: is_healthy(url), 60, "the worker is healthy")
    (name,) = redis.smembers("rq:workers")
    redis.expire(name, 0)
    assert not is_healthy(url)


def test_a_part_lost_between_queue_and_worker_is_found(
    redis: redis_client.Redis, ledger: Ledger, enqueue: Callable[[str], None], light_worker: Start, tally: Path
) -> None:
    enqueue("die_once")
    assert redis.lmove("rq:queue:labelmint", "rq:queue:labelmint:intermediate", "RIGHT", "LEFT") == b"part"
    with light_worker():
        wait_for(lambda: is_done(redis), 60, "the part is done")
    assert redis.llen("rq:queue:labelmint:intermediate") == 0
    assert interruptions(ledger) == [{"part": "part", "reason": "worker-lost"}]
