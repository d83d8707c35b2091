"""How one asks for the events of a job: as a stream or a page, from the beginning or from where one left off."""

import threading
import time

import httpx
import pytest

from service.ledger import Ledger
from service.records import JobRecord, Phase
from service.routes.events import HEARTBEAT_S
from tests.service.event_streams import PAGE, STREAM, event_stream, page, types
from tests.service.job_events.conftest import QUICK_S
from tests.service.jobs import ERROR
from tests.service.processes import Api


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
