"""Watching a job, stopping it, and taking what it made."""

import io
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from typing import cast

import httpx
import pytest
from redis import Redis
from rq import Queue, Worker

from service.ledger import Ledger
from service.queue import QUEUE_NAME
from service.records import JobError, JobRecord, Phase
from service.requests import EncodeRequest, ImportRequest, TrainRequest
from service.stores import FileStore
from tests.service.jobs import make_job
from tests.service.uploads import image_bytes

DATA = bytes(range(256)) * 4096
KEY = "datasets/job-1/png.zip"


@pytest.fixture
def job(api: httpx.Client, api_ledger: Ledger) -> JobRecord:
    return api_ledger.accept(make_job())


@pytest.fixture
def done(job: JobRecord, api_ledger: Ledger, api_store: FileStore) -> str:
    """The address of a finished job's dataset."""
    api_store.put(KEY, DATA)
    api_ledger.start(job.id)
    api_ledger.succeed(job.id, {"png": KEY})
    return f"/jobs/{job.id}/download?format=png"


def test_a_running_job_shows_how_far_it_is(api: httpx.Client, api_ledger: Ledger, job: JobRecord) -> None:
    api_ledger.start(job.id)
    api_ledger.enter_phase(job.id, Phase.GENERATE, 100)
    api_ledger.advance_shard(job.id, 0, 40)
    api_ledger.tell(job.id, {"slowest": "generate", "busy.encode": 0.25})
    view = api.get(f"/jobs/{job.id}").json()
    assert (view["state"], view["phase"]) == ("running", "generate")
    assert (view["progress"]["done"], view["progress"]["total"]) == (40, 100)
    assert view["progress"]["rate"] > 0
    assert view["progress"]["eta_s"] > 0
    assert view["progress"]["details"] == {"slowest": "generate", "busy.encode": 0.25}
    assert view["links"] == {
        "self": "/jobs/job-1",
        "events": "/jobs/job-1/events",
        "project": "/projects/bears",
        "generator": None,
        "cancel": "/jobs/job-1/cancel",
        "preview": None,
        "download": {},
        "report": None,
        "report_png": None,
        "sheet": None,
    }


def test_an_unfinished_job_says_when_no_worker_is_there(
    api: httpx.Client, api_ledger: Ledger, redis: Redis, job: JobRecord
) -> None:
    def told() -> list[str | None]:
        (listed,) = api.get("/jobs").json()["jobs"]
        return [listed["held_up"], api.get("/jobs/job-1").json()["held_up"]]

    for start in (lambda: None, lambda: api_ledger.start(job.id)):
        start()
        one, other = told()
        assert one == other is not None
        assert "`labelmint worker`" in one
    worker = Worker([Queue(QUEUE_NAME, connection=redis)], connection=redis)
    worker.register_birth()
    assert told() == [None, None]
    worker.register_death()
    api_ledger.succeed(job.id, {})
    assert told() == [None, None]


def test_a_finished_job_links_to_what_it_made(api: httpx.Client, done: str) -> None:
    links = api.get("/jobs/job-1").json()["links"]
    assert links["cancel"] is None
    assert links["preview"] == "/jobs/job-1/preview.png"
    assert links["download"] == {"png": done}


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
@pytest.mark.parametrize(
    "request_of_job",
    [
        ImportRequest(generator_id="cats", name="Cats", sha256="0" * 64),
        TrainRequest(generator_id="cats", name="Cats", sha256="0" * 64, resolution=64),
        EncodeRequest(generator_id="toy"),
    ],
    ids=["import", "train", "encode"],
)
def test_a_job_links_to_the_generator_that_it_made_only_once_it_has(
    api: httpx.Client, api_ledger: Ledger, request_of_job: ImportRequest | TrainRequest | EncodeRequest, end: str
) -> None:
    def link() -> str | None:
        return cast("str | None", api.get("/jobs/gen-1").json()["links"]["generator"])

    is_there = isinstance(request_of_job, EncodeRequest)
    api_ledger.accept(JobRecord(id="gen-1", request=request_of_job))
    made = f"/generators/{request_of_job.generator_id}"
    assert link() == (made if is_there else None)
    api_ledger.start("gen-1")
    assert link() == (made if is_there else None)
    if end == "succeeded":
        api_ledger.succeed("gen-1", {})
    elif end == "failed":
        api_ledger.fail("gen-1", JobError(code="internal", message="It broke.", retry=False))
    else:
        api_ledger.cancelled("gen-1")
    assert api.get("/jobs/gen-1").json()["state"] == end
    assert link() == (made if is_there or end == "succeeded" else None)


@pytest.mark.parametrize("job_id", ["nothing", "..%2f..", "A" * 300, "%00"])
@pytest.mark.parametrize("rest", ["", "/preview.png", "/download"])
def test_an_unknown_job_is_404(api: httpx.Client, job_id: str, rest: str) -> None:
    answer = api.get(f"/jobs/{job_id}{rest}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("what", ["jobs", "projects", "generators"])
def test_what_is_not_there_is_answered_with_where_to_look(api: httpx.Client, what: str) -> None:
    detail = api.get(f"/{what}/nothing").json()["detail"]
    assert detail.startswith(f"There is no such {what[:-1]}; ")
    listing = re.search(r"GET (/\w+)", detail)
    assert listing is not None
    assert api.get(listing[1]).status_code == 200


def test_jobs_are_listed_with_the_last_ones_first(api: httpx.Client, api_ledger: Ledger) -> None:
    for number in range(3):
        api_ledger.accept(make_job(f"job-{number}"))
        time.sleep(0.002)
    api_ledger.start("job-1")
    assert [job["id"] for job in api.get("/jobs").json()["jobs"]] == ["job-2", "job-1", "job-0"]
    assert [job["id"] for job in api.get("/jobs?limit=1").json()["jobs"]] == ["job-2"]
    assert [job["id"] for job in api.get("/jobs?state=running").json()["jobs"]] == ["job-1"]
    assert api.get("/jobs?limit=0").status_code == 422


def test_a_long_poll_ends_with_the_first_change(api: httpx.Client, api_ledger: Ledger, job: JobRecord) -> None:
    timer = threading.Timer(0.4, api_ledger.start, [job.id])
    timer.start()
    began = time.monotonic()
    answer = api.get(f"/jobs/{job.id}", headers={"prefer": "respond-async, wait=20"})
    assert answer.json()["state"] == "running"
    assert 0.3 < time.monotonic() - began < 5
    assert answer.headers["preference-applied"] == "wait=20"
    timer.join()


def test_a_long_poll_ends_with_its_time(api: httpx.Client, job: JobRecord) -> None:
    began = time.monotonic()
    assert api.get(f"/jobs/{job.id}", headers={"prefer": "wait=1"}).json()["state"] == "queued"
    assert 0.9 < time.monotonic() - began < 5


def test_long_polls_do_not_keep_others_waiting(api: httpx.Client, api_url: str, job: JobRecord) -> None:
    def wait() -> None:
        httpx.get(f"{api_url}/jobs/{job.id}", headers={"prefer": "wait=2"}, timeout=30)

    threads = [threading.Thread(target=wait) for _ in range(50)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    began = time.monotonic()
    assert api.get("/healthz").status_code == 200
    assert time.monotonic() - began < 1.5
    for thread in threads:
        thread.join()


def test_a_finished_job_does_not_wait(api: httpx.Client, done: str) -> None:
    began = time.monotonic()
    api.get("/jobs/job-1", headers={"prefer": "wait=30"})
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("prefer", ["wait", "wait=x", "wait=-1", "await=5", "wait=5x"])
def test_other_preferences_are_ignored(api: httpx.Client, job: JobRecord, prefer: str) -> None:
    answer = api.get(f"/jobs/{job.id}", headers={"prefer": prefer})
    assert "preference-applied" not in answer.headers


def put_in_hand(redis: Redis, part: str) -> None:
    """Note a part as one that a worker is at."""
    redis.zadd(f"rq:wip:{QUEUE_NAME}", {f"{part}:execution": time.time() + 60})


def test_cancelling_may_be_repeated(api: httpx.Client, api_ledger: Ledger, job: JobRecord, redis: Redis) -> None:
    api_ledger.start(job.id)
    put_in_hand(redis, "job-1-shard-00000")
    for _ in range(2):
        answer = api.post(f"/jobs/{job.id}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
    api_ledger.cancelled(job.id)
    answer = api.post(f"/jobs/{job.id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert api.post("/jobs/nothing/cancel").status_code == 404


def test_a_job_cancelled_between_its_parts_ends_at_once(
    api: httpx.Client, api_ledger: Ledger, job: JobRecord, redis: Redis
) -> None:
    api_ledger.start(job.id)
    put_in_hand(redis, "another-job-1-fit")
    answer = api.post(f"/jobs/{job.id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert api_ledger.is_cancelling(job.id), "a part that is taken up just now finds it so"


def test_a_job_whose_worker_was_lost_ends_when_it_is_cancelled_again(
    api: httpx.Client, api_ledger: Ledger, job: JobRecord, redis: Redis
) -> None:
    api_ledger.start(job.id)
    put_in_hand(redis, "job-1-fit")
    assert api.post(f"/jobs/{job.id}/cancel").json()["state"] == "cancelling"
    redis.delete(f"rq:wip:{QUEUE_NAME}")
    assert api.post(f"/jobs/{job.id}/cancel").json()["state"] == "cancelled"


def test_a_training_cancelled_between_its_parts_waits_for_a_worker_who_keeps_its_best(
    api: httpx.Client, api_ledger: Ledger
) -> None:
    request = TrainRequest(generator_id="cats", name="Cats", sha256="0" * 64, resolution=64)
    api_ledger.accept(JobRecord(id="gen-1", request=request))
    api_ledger.start("gen-1")
    assert api.post("/jobs/gen-1/cancel").json()["state"] == "cancelling"


def test_a_finished_job_cannot_be_cancelled(api: httpx.Client, done: str) -> None:
    answer = api.post("/jobs/job-1/cancel")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/job-finished")


def test_the_preview_comes_with_the_samples(api: httpx.Client, api_store: FileStore, job: JobRecord) -> None:
    answer = api.get(f"/jobs/{job.id}/preview.png")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/no-preview")
    api_store.put("datasets/job-1/preview.png", image_bytes())
    answer = api.get(f"/jobs/{job.id}/preview.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    known = {"if-none-match": f'"other", W/{answer.headers["etag"]}'}
    again = api.get(f"/jobs/{job.id}/preview.png", headers=known)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    api_store.put("datasets/job-1/preview.png", image_bytes((32, 32)))
    assert api.get(f"/jobs/{job.id}/preview.png", headers=known).status_code == 200


def test_a_dataset_is_downloaded_whole(api: httpx.Client, done: str) -> None:
    answer = api.get(done)
    assert answer.status_code == 200
    assert answer.content == DATA
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="labelmint-job-1-png.zip"'
    assert api.get("/jobs/job-1/download").content == DATA
    head = api.head(done)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(DATA)), b"")


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=1000000-", 1_000_000, len(DATA)),
        ("bytes=-5", len(DATA) - 5, len(DATA)),
        ("bytes=5-99999999", 5, len(DATA)),
    ],
)
def test_a_range_is_downloaded(api: httpx.Client, done: str, header: str, start: int, end: int) -> None:
    answer = api.get(done, headers={"range": header})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert answer.content == DATA[start:end]


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "lines=1-2", "bytes=5-1", "bytes=-", "bytes=a-b"])
def test_a_range_that_is_none_is_ignored(api: httpx.Client, done: str, header: str) -> None:
    assert api.get(done, headers={"range": header}).status_code == 200


@pytest.mark.parametrize("header", [f"bytes={len(DATA)}-", "bytes=-0"])
def test_a_range_past_the_end_is_416(api: httpx.Client, done: str, header: str) -> None:
    answer = api.get(done, headers={"range": header})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(DATA)}")


def test_a_broken_download_goes_on_only_with_the_same_bytes(api: httpx.Client, done: str) -> None:
    first = api.get(done)
    for validator in (first.headers["etag"], first.headers["last-modified"]):
        assert api.get(done, headers={"range": "bytes=9-", "if-range": validator}).status_code == 206
    assert api.get(done, headers={"range": "bytes=9-", "if-range": '"other"'}).status_code == 200
    assert api.get(done, headers={"if-none-match": first.headers["etag"]}).status_code == 304


def test_nothing_is_downloaded_before_the_end(api: httpx.Client, api_ledger: Ledger, job: JobRecord) -> None:
    answer = api.get(f"/jobs/{job.id}/download")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-ready")
    api_ledger.fail(job.id, JobError(code="fit-failed", message="The seeds could not be inverted.", retry=False))
    answer = api.get(f"/jobs/{job.id}/download")
    assert (answer.status_code, answer.json()["detail"]) == (410, "The seeds could not be inverted.")


@pytest.mark.parametrize(
    "request_of_job",
    [
        ImportRequest(generator_id="cats", name="Cats", sha256="0" * 64),
        TrainRequest(generator_id="cats", name="Cats", sha256="0" * 64, resolution=64),
        EncodeRequest(generator_id="cats"),
    ],
    ids=["import", "train", "encode"],
)
def test_a_job_about_a_generator_has_no_dataset(
    api: httpx.Client, api_ledger: Ledger, request_of_job: ImportRequest | TrainRequest | EncodeRequest
) -> None:
    api_ledger.accept(JobRecord(id="gen-1", request=request_of_job))
    for end in (False, True):
        if end:
            api_ledger.start("gen-1")
            api_ledger.succeed("gen-1", {})
        for query in ("", "?format=png"):
            answer = api.get(f"/jobs/gen-1/download{query}")
            assert (answer.status_code, answer.json()["type"]) == (409, "/problems/no-dataset")
            assert "Name the one that did" in answer.json()["detail"]


def test_another_format_or_a_lost_dataset_is_told(api: httpx.Client, api_store: FileStore, done: str) -> None:
    answer = api.get("/jobs/job-1/download?format=coco")
    assert (answer.status_code, answer.json()["detail"]) == (404, "The job made these formats: png.")
    api_store.delete(KEY)
    assert api.get(done).status_code == 410


def test_a_large_dataset_is_streamed(
    api: httpx.Client, api_store: FileStore, job: JobRecord, api_ledger: Ledger
) -> None:
    """Bytes come before the whole zip could have been read, and a client that leaves does no harm."""
    big = io.BytesIO()
    with zipfile.ZipFile(big, "w") as archive:
        archive.writestr("zeros", b"\0" * 30_000_000)
    big.seek(0)
    api_store.put(KEY, big)
    api_ledger.succeed(job.id, {"png": KEY})
    with api.stream("GET", f"/jobs/{job.id}/download") as answer:
        chunks: Iterator[bytes] = answer.iter_bytes(1000)
        assert next(chunks).startswith(b"PK")
    assert api.get("/healthz").status_code == 200
