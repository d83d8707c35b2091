"""What the events of a job tell: its whole life, in order, as it happens."""

import re
import threading
import time
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import httpx
from redis import Redis

from service.ledger import Ledger
from service.records import JobRecord, Phase
from tests.service.event_streams import event_stream, page, states, types
from tests.service.jobs import ERROR
from tests.service.processes import Api


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
