"""What followers of a job are told when Redis is wiped or out, the server stops, or they are many and go away."""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest
from redis import Redis

from service.embedded_redis import EmbeddedRedis
from service.ledger import Ledger
from service.queue import JobQueue
from service.records import JobRecord, JobState, Phase
from service.redis_client import connect
from service.settings import Settings
from service.stores import FileStore
from tests.service.event_streams import event_stream, page, states, types
from tests.service.job_events.conftest import QUICK_S
from tests.service.jobs import ERROR, make_job
from tests.service.processes import Api, api_process
from tests.workers.processes import wait_for
from workers.recover import recover


@pytest.mark.parametrize("number", range(12))
def test_events_and_states_agree_whatever_happens(
    url: str, job: JobRecord, ledger: Ledger, redis: Redis, number: int
) -> None:
    """In a life of chance, in which Redis is lost now and then."""
    chance = np.random.default_rng(number)
    phases = list(Phase)
    acts: list[Callable[[], object]] = [
        lambda: ledger.start(job.id),
        lambda: ledger.enter_phase(job.id, phases[chance.integers(len(phases))], 10),
        lambda: ledger.advance(job.id, int(chance.integers(10))),
        lambda: ledger.note(job.id, str(chance.random())),
        lambda: ledger.is_cancelling(job.id),
        redis.flushall,
        lambda: ledger.cancel(job.id),
        lambda: ledger.cancelled(job.id),
        lambda: ledger.succeed(job.id, {}),
    ]
    weights = np.array([4, 4, 4, 2, 2, 1, 1, 1, 1])
    last, followed = 0, ["none"]
    while not ledger.get(job.id).state.is_terminal:
        acts[chance.choice(len(acts), p=weights / weights.sum())]()
        events = page(url)["events"]
        assert states(events)[-1] == ledger.get(job.id).state
        assert all(earlier["id"] < later["id"] for earlier, later in pairwise(events))
        missed = page(url, after=last)
        followed += states(missed["events"])
        last = missed["next"]
    assert followed[-1] == ledger.get(job.id).state
    assert httpx.get(url, params={"after": last}).status_code == 204


@pytest.mark.parametrize("middle", range(4))
def test_a_job_that_ended_has_events_when_redis_was_wiped(
    url: str, job: JobRecord, ledger: Ledger, redis: Redis, middle: int
) -> None:
    ledger.start(job.id)
    ledger.enter_phase(job.id, Phase.FIT, 10)
    ledger.note(job.id, "one seed left out")
    before = page(url)["events"]
    ledger.succeed(job.id, {"png": "datasets/job-1/png.zip"})
    end = page(url)["events"][-1]
    redis.flushall()
    after = page(url)
    assert types(after["events"]) == ["queued", "running", "succeeded"]
    assert after["events"][0] == before[0]
    assert after["events"][-1] == end
    assert after["ended"]
    with event_stream(url, before[middle]["id"]) as stream:
        assert list(stream)[-1] == end, "nobody misses the end"
    assert httpx.get(url, params={"after": end["id"]}).status_code == 204


def test_a_stream_goes_on_when_redis_was_wiped(
    url: str, job: JobRecord, ledger: Ledger, redis: Redis, settings: Settings
) -> None:
    ledger.start(job.id)
    ledger.enter_phase(job.id, Phase.FIT, 10)
    with event_stream(url) as stream:
        stream.take(3)
        redis.flushall()
        time.sleep(2 * QUICK_S)
        assert recover(ledger, JobQueue(redis, settings)) == 1
        assert types(page(url)["events"]) == ["queued"]
        ledger.start(job.id)
        assert types(stream.take(1)) == ["running"]
        ledger.enter_phase(job.id, Phase.FIT, 10)
        ledger.succeed(job.id, {})
        assert types(list(stream)) == ["phase", "succeeded"]


def test_a_cancellation_that_only_the_store_knows_is_told(
    url: str, job: JobRecord, ledger: Ledger, redis: Redis
) -> None:
    ledger.start(job.id)
    asked = time.time()
    ledger.cancel(job.id)
    redis.flushall()
    events = page(url)["events"]
    assert types(events) == ["queued", "running", "cancelling"]
    assert abs(datetime.fromisoformat(events[-1]["time"]).timestamp() - asked) < 2
    ledger.cancelled(job.id)
    redis.flushall()
    assert types(page(url)["events"]) == ["queued", "running", "cancelled"]


def test_an_end_that_redis_was_not_told_of_is_told(url: str, job: JobRecord, ledger: Ledger, quick: Api) -> None:
    ledger.start(job.id)
    with event_stream(url) as stream:
        stream.take(2)
        ended = ledger.get(job.id).model_copy(update={"state": JobState.FAILED, "error": ERROR})
        store = FileStore(quick.log.parent / "store")
        store.put(JobRecord.key(job.id), ended.model_dump_json().encode())
        assert types(list(stream)) == ["failed"]


def test_a_job_that_is_taken_back_ends_its_streams(url: str, job: JobRecord, ledger: Ledger) -> None:
    with event_stream(url) as stream:
        stream.take(1)
        ledger.forget(job.id)
        assert list(stream) == []


def test_a_stream_outlasts_an_outage_of_redis(tmp_path: Path) -> None:
    class Server(EmbeddedRedis):
        def restart(self) -> None:
            self._process = self._start()
            assert self._wait_until_ready()

    with Server(tmp_path / "redis") as server, api_process(tmp_path, server.url, QUICK_S) as api:
        ledger = Ledger(FileStore(tmp_path / "store"), connect(server.url), 1000)
        for job_id in ("job-1", "job-2"):
            ledger.accept(make_job(job_id))
            ledger.start(job_id)
        ledger.succeed("job-2", {})
        url = f"{api.url}/jobs/job-1/events"
        with event_stream(url) as stream:
            stream.take(2)
            server.close()
            wait_for(lambda: "told later" in api.log.read_text(), 20, "the API has noticed")
            answer = httpx.get(url, timeout=30)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/redis-unavailable")
            assert types(page(f"{api.url}/jobs/job-2/events")["events"]) == ["queued", "running", "succeeded"]
            server.restart()
            ledger.enter_phase("job-1", Phase.FIT, 10)
            assert types(stream.take(2)) == ["running", "phase"]
            assert stream.comments > 0
            ledger.succeed("job-1", {})
            assert types(list(stream)) == ["succeeded"]
        assert "Traceback" not in api.log.read_text()
        assert '"exception"' not in api.log.read_text()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_stops_ends_its_streams(
    tmp_path: Path, redis: Redis, redis_url: str, sig: signal.Signals
) -> None:
    with api_process(tmp_path, redis_url) as api:
        Ledger(FileStore(tmp_path / "store"), redis, 1000).accept(make_job())
        url = f"{api.url}/jobs/job-1"
        waited: list[httpx.Response] = []
        waiter = threading.Thread(
            target=lambda: waited.append(httpx.get(url, headers={"prefer": "wait=60"}, timeout=30))
        )
        with event_stream(f"{url}/events") as stream, event_stream(f"{url}/events") as other:
            waiter.start()
            stream.take(1)
            other.take(1)
            time.sleep(0.5)
            api.process.send_signal(sig)
            late = threading.Timer(5, api.process.kill)
            late.start()
            assert [*stream, *other] == [], "they end in order"
            assert api.process.wait(10) != -signal.SIGKILL, "it took too long"
            late.cancel()
        waiter.join()
        assert waited[0].json()["state"] == "queued"
        assert "Traceback" not in api.log.read_text()


def test_any_number_of_streams_takes_few_connections_and_leaves_nothing(
    api: httpx.Client, api_url: str, api_directory: Path, api_ledger: Ledger, redis: Redis
) -> None:
    """Those of clients that have gone end before they would have noticed by themselves."""
    url = f"{api_url}/jobs/{api_ledger.accept(make_job()).id}/events"

    def looks() -> int:
        return int(redis.info("commandstats").get("cmdstat_hget", {}).get("calls", 0))

    def closed() -> int:
        return (api_directory / "api.log").read_text().count('"path": "/jobs/job-1/events"')

    before, was_closed = len(redis.client_list()), closed()
    with ExitStack() as streams:
        for _ in range(120):
            streams.enter_context(event_stream(url)).take(1)
        began = looks()
        time.sleep(2)
        assert 2 <= looks() - began <= 16, "one look for all"
        assert len(redis.client_list()) <= before + 45, "API threads and a few more"
        assert api.get("/healthz").status_code == 200
        began_closing = time.monotonic()
    wait_for(lambda: closed() - was_closed == 120, 10, "all have ended")
    assert time.monotonic() - began_closing < 5
    time.sleep(0.5)
    began = looks()
    time.sleep(1)
    assert looks() == began, "nobody looks any more"
