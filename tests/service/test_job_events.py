"""Following a job: every event once and in order, whoever comes back, dies or is wiped in between."""

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from redis import Redis

from service.embedded_redis import EmbeddedRedis
from service.ledger import Ledger
from service.queue import JobQueue
from service.records import JobError, JobRecord, JobState, Phase
from service.redis_client import connect
from service.routes.events import HEARTBEAT_S
from service.settings import Settings
from service.stores import FileStore
from tests.service.event_streams import PAGE, STREAM, event_stream
from tests.service.jobs import make_job
from tests.service.processes import Api, api_process
from tests.workers.processes import wait_for
from workers.recover import recover

QUICK_S = 0.4
ERROR = JobError(code="fit-failed", message="The seeds could not be inverted.", retry=False)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Api]:
    with api_process(tmp_path_factory.mktemp("quick"), redis_url, QUICK_S) as api:
        yield api


@pytest.fixture
def ledger(quick: Api, redis: Redis) -> Ledger:
    """The ledger of the API process, as a worker sees it; empty."""
    store = FileStore(quick.log.parent / "store")
    for row in list(store.list()):
        store.delete(row.key)
    return Ledger(store, redis, 1000)


@pytest.fixture
def job(ledger: Ledger) -> JobRecord:
    return ledger.accept(make_job())


@pytest.fixture
def url(quick: Api, job: JobRecord) -> str:
    return f"{quick.url}/jobs/{job.id}/events"


def page(url: str, **query: int) -> dict[str, Any]:
    answer = httpx.get(url, headers=PAGE, params=query, timeout=30)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def states(events: list[dict[str, Any]]) -> list[str]:
    """The states that events tell of."""
    return [type_ for type_ in types(events) if type_ in set(JobState)]


def live(ledger: Ledger, job_id: str) -> None:
    """A whole life, without acceptance and end."""
    ledger.start(job_id)
    ledger.enter_phase(job_id, Phase.FIT, 10)
    for done in range(1, 11):
        ledger.advance(job_id, done)
    ledger.note(job_id, "one seed left out\nand why")
    ledger.plan(job_id, "abc", shards=2, shard_size=50)
    ledger.enter_phase(job_id, Phase.GENERATE, 100)
    for shard in range(2):
        ledger.tell_draws(job_id, shard, 100, 50)
        ledger.advance_shard(job_id, shard, 50)
    ledger.interrupted(job_id, f"{job_id}-shard-00001", "worker-lost")
    ledger.enter_phase(job_id, Phase.PACKAGE, 5)
    ledger.advance(job_id, 5)


LIFE = ["queued", "running", "phase", "progress", "note", "phase", "progress", "interrupted", "phase", "progress"]


def test_a_jobs_life_is_told_from_its_acceptance_to_its_end(url: str, job: JobRecord, ledger: Ledger) -> None:
    live(ledger, job.id)
    ledger.succeed(job.id, {"png": "datasets/job-1/png.zip"})
    with event_stream(url) as stream:
        headers = stream.answer.headers
        events = list(stream)
        assert stream.retry is not None
    assert headers["content-type"].startswith("text/event-stream")
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
    assert types(events) == [*LIFE, "succeeded"]
    assert all(earlier["id"] < later["id"] for earlier, later in pairwise(events))
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", event["time"]) for event in events)
    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert times == sorted(times)
    data = [event["data"] for event in events]
    assert data[0] == {"task": "generate"}
    assert data[2] == {"phase": "fit", "total": 10}
    assert (data[3]["phase"], data[3]["done"], data[3]["total"]) == ("fit", 10, 10)
    assert data[3]["rate"] > 0
    assert data[4] == {"note": "one seed left out\nand why"}
    assert (data[6]["done"], data[6]["details"]) == (100, {"acceptance": 0.5})
    assert data[7] == {"part": "shard-00001", "reason": "worker-lost"}
    assert (data[9]["phase"], data[9]["details"]) == ("package", {})
    assert data[10]["links"]["download"] == {"png": "/jobs/job-1/download?format=png"}
    assert data[10]["notes"] == ["one seed left out\nand why"]
    assert page(url) == {"events": events, "next": events[-1]["id"], "ended": True}


def test_events_come_as_they_happen(url: str, job: JobRecord, ledger: Ledger) -> None:
    steps: list[tuple[Callable[[], object], str]] = [
        (lambda: ledger.start(job.id), "running"),
        (lambda: ledger.enter_phase(job.id, Phase.FIT, 10), "phase"),
        (lambda: ledger.advance(job.id, 3), "progress"),
        (lambda: ledger.tell(job.id, {"lpips": 0.5}), "progress"),
        (lambda: ledger.note(job.id, "well"), "note"),
        (lambda: ledger.cancel(job.id), "cancelling"),
        (lambda: ledger.cancelled(job.id), "cancelled"),
    ]
    with event_stream(url) as stream:
        assert types(stream.take(1)) == ["queued"]
        for act, type_ in steps:
            began = time.monotonic()
            act()
            assert types(stream.take(1)) == [type_]
            assert time.monotonic() - began < 2
        assert list(stream) == [], "it ends by itself"


def test_whoever_comes_back_gets_what_was_missed(url: str, job: JobRecord, ledger: Ledger) -> None:
    ledger.start(job.id)
    ledger.enter_phase(job.id, Phase.FIT, 10)
    with event_stream(url) as stream:
        seen = stream.take(3)
    ledger.note(job.id, "first")
    ledger.note(job.id, "second")
    with event_stream(url, seen[-1]["id"]) as stream:
        seen += stream.take(1)
        assert seen[-1]["data"] == {"note": "first"}
    ledger.advance(job.id, 10)
    ledger.fail(job.id, ERROR)
    with event_stream(url, seen[-1]["id"]) as stream:
        seen += list(stream)
    assert seen == page(url)["events"]
    assert types(seen) == ["queued", "running", "phase", "note", "note", "progress", "failed"]
    for number, event in enumerate(seen):
        assert page(url, after=event["id"])["events"] == seen[number + 1 :]
        with event_stream(url, 0, params={"after": seen[3]["id"]}) as stream:
            assert list(stream) == seen, "the header is newer than the address"
    with event_stream(url, params={"after": seen[3]["id"]}) as stream:
        assert list(stream) == seen[4:]


def test_whoever_has_the_end_is_told_to_stay_away(url: str, job: JobRecord, ledger: Ledger) -> None:
    ledger.fail(job.id, ERROR)
    last = page(url)["next"]
    for late in (last, last + 5):
        answer = httpx.get(url, headers=STREAM | {"last-event-id": str(late)})
        assert (answer.status_code, answer.content) == (204, b"")
        assert httpx.get(url, params={"after": late}).status_code == 204
        assert page(url, after=late) == {"events": [], "next": late, "ended": True}


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", "1e3", "0x10", "9" * 30, "9" * 5000, str(3 * 10**15)])
def test_an_id_that_no_event_has_is_refused(url: str, job: JobRecord, ledger: Ledger, wrong: str, ended: bool) -> None:
    if ended:
        ledger.cancel(job.id)
    for accept in (STREAM, PAGE):
        answers = (
            httpx.get(url, headers=accept | {"last-event-id": wrong}),
            httpx.get(url, headers=accept, params={"after": wrong}),
        )
        for answer, field in zip(answers, ("last-event-id", "after"), strict=True):
            assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
            assert answer.json()["errors"][0]["field"] == field


def test_an_empty_id_is_none(url: str, job: JobRecord) -> None:
    assert types(httpx.get(url, headers=PAGE | {"last-event-id": ""}).json()["events"]) == ["queued"]


@pytest.mark.parametrize("accept", [STREAM, PAGE])
def test_an_unknown_job_has_no_events(quick: Api, accept: dict[str, str]) -> None:
    for job_id in ("nothing", "..%2f..", "%00"):
        answer = httpx.get(f"{quick.url}/jobs/{job_id}/events", headers=accept)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize(
    ("accept", "type_"),
    [
        ("*/*", "text/event-stream"),
        ("text/event-stream", "text/event-stream"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/html", "application/problem+json"),
    ],
)
def test_the_client_chooses_between_stream_and_page(
    url: str, job: JobRecord, ledger: Ledger, accept: str, type_: str
) -> None:
    ledger.fail(job.id, ERROR)
    answer = httpx.get(url, headers={"accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == type_
    assert answer.status_code == (406 if "problem" in type_ else 200)
    if answer.status_code == 200:
        assert (answer.headers["vary"], answer.headers["cache-control"]) == ("Accept", "no-store")


def test_a_page_waits_for_an_event_if_asked_to(url: str, job: JobRecord, ledger: Ledger) -> None:
    accepted = page(url)["next"]
    timer = threading.Timer(0.5, ledger.start, [job.id])
    timer.start()
    began = time.monotonic()
    answer = httpx.get(url, headers=PAGE | {"prefer": "wait=20"}, params={"after": accepted}, timeout=30)
    assert 0.4 < time.monotonic() - began < 5
    assert types(answer.json()["events"]) == ["running"]
    assert answer.headers["preference-applied"] == "wait=20"
    began = time.monotonic()
    last = answer.json()["next"]
    answer = httpx.get(url, headers=PAGE | {"prefer": "wait=1"}, params={"after": last}, timeout=30)
    assert 0.9 < time.monotonic() - began < 5
    assert answer.json() == {"events": [], "next": last, "ended": False}
    timer.join()


def test_a_silent_stream_gives_signs_of_life(url: str, job: JobRecord, ledger: Ledger) -> None:
    with event_stream(url) as stream:
        stream.take(1)
        timer = threading.Timer(6 * QUICK_S, ledger.fail, [job.id, ERROR])
        timer.start()
        assert types(list(stream)) == ["failed"]
        assert 3 <= stream.comments <= 6
    assert HEARTBEAT_S == 15
    timer.join()


def test_a_failure_is_told_as_the_job_has_it(quick: Api, url: str, job: JobRecord, ledger: Ledger) -> None:
    ledger.start(job.id)
    ledger.fail(job.id, ERROR)
    end = page(url)["events"][-1]
    view = httpx.get(f"{quick.url}/jobs/{job.id}").json()
    assert end["type"] == "failed"
    assert end["data"] == {name: view[name] for name in ("error", "notes", "links")}
    assert end["time"] == view["finished"]
    assert view["links"]["events"] == urlsplit(url).path


def test_of_progress_the_latest_of_each_phase_is_kept(url: str, job: JobRecord, ledger: Ledger, redis: Redis) -> None:
    def kept() -> int:
        return sum(redis.memory_usage(key) or 0 for key in redis.keys("labelmint:job:job-1*"))

    ledger.start(job.id)
    received: list[dict[str, Any]] = []

    def follow() -> None:
        with event_stream(url) as stream:
            received.extend(stream)

    follower = threading.Thread(target=follow)
    follower.start()
    ledger.plan(job.id, "abc", shards=4, shard_size=1000)
    ledger.enter_phase(job.id, Phase.GENERATE, 4000)
    for done in range(4000):
        if done == 100:
            begun = kept()
        ledger.advance_shard(job.id, done % 4, done // 4 + 1)
        ledger.tell(job.id, {"slowest": "generate"})
        ledger.interrupted(job.id, "job-1-shard-00000", "worker-lost")
    assert kept() < begun + 1000
    ledger.enter_phase(job.id, Phase.PACKAGE, 1)
    ledger.succeed(job.id, {})
    follower.join(30)
    kinds = ["queued", "running", "phase", "interrupted", "progress", "phase", "succeeded"]
    assert sorted(types(page(url)["events"])) == sorted(kinds)
    progress = [event["data"]["done"] for event in received if event["type"] == "progress"]
    assert progress == sorted(progress)
    assert 2 < len(progress) < 200
    assert progress[-1] == 4000
    assert states(received) == ["queued", "running", "succeeded"]


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
            self._process = self._start(urlsplit(self.url).port or 0)
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


def test_the_document_describes_both_forms(quick: Api) -> None:
    document = httpx.get(f"{quick.url}/openapi.json").json()
    operation = document["paths"]["/jobs/{job_id}/events"]["get"]
    assert set(operation["responses"]) == {"200", "204", "404", "406", "422", "503"}
    content = operation["responses"]["200"]["content"]
    assert set(content) == {"text/event-stream", "application/json"}
    assert content["application/json"]["schema"]["$ref"].endswith("/EventPage")
    assert {parameter["name"] for parameter in operation["parameters"]} == {
        "job_id",
        "after",
        "last-event-id",
        "prefer",
    }
    for example in (
        content["text/event-stream"]["example"],
        str(document["components"]["schemas"]["EventPage"]["properties"]["events"]["examples"]),
    ):
        assert "1790000012345678" in example
