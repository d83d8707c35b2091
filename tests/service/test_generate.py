"""Asking for a dataset, well and badly."""

import threading
from typing import Any

import httpx
import pytest
from redis import Redis
from rq import Queue

from service.ledger import Ledger
from service.queue import QUEUE_NAME
from service.stores import FileStore
from tests.service.uploads import good_files, post_files


@pytest.fixture
def project(api: httpx.Client) -> str:
    return str(post_files(api, good_files()).json()["id"])


def test_a_job_is_accepted_and_queued(api: httpx.Client, project: str, redis: Redis, api_ledger: Ledger) -> None:
    answer = api.post("/generate", json={"project_id": project, "count": 200, "seed": 7})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}" == job["links"]["self"]
    assert int(answer.headers["retry-after"]) > 0
    assert job["state"] == "queued"
    assert job["request"] == {
        "task": "generate",
        "project_id": project,
        "count": 200,
        "seed": 7,
        "truncation": 1.0,
        "discard_fraction": 0.1,
        "ignore_fraction": 0.0,
        "condition": None,
        "image_format": "png",
        "augment": [],
        "multiply": 1,
        "balance": None,
        "include_seeds": False,
        "formats": ["png"],
        "split": None,
    }
    assert Queue(QUEUE_NAME, connection=redis).job_ids == [f"{job['id']}-fit"]
    assert api_ledger.get(job["id"]).generate.count == 200
    assert api.get(answer.headers["location"]).json()["id"] == job["id"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": -1}, "count"),
        ({"count": 1001}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": None}, "count"),
        ({"count": True}, "count"),
        ({"count": "3"}, "count"),
        ({"seed": "7"}, "seed"),
        ({"truncation": True}, "truncation"),
        ({"discard_fraction": "0.2"}, "discard_fraction"),
        ({"include_seeds": "yes"}, "include_seeds"),
        ({"include_seeds": 1}, "include_seeds"),
        ({"split": {"train": True}}, "split.train"),
        ({"seed": -1}, "seed"),
        ({"truncation": 1.1}, "truncation"),
        ({"include_seeds": 3}, "include_seeds"),
        ({"discard_fraction": 1}, "discard_fraction"),
        ({"formats": []}, "formats"),
        ({"formats": ["coco3d"]}, "formats.0"),
        ({"formats": ["png", "png"]}, "formats"),
        ({"split": {"train": 0.8, "val": 0.3}}, "split"),
        ({"image_format": "gif"}, "image_format"),
        ({"multiply": 4}, "multiply"),
        ({"count": 600, "multiply": 2, "augment": [{"name": "HorizontalFlip"}]}, "count"),
        ({"augment": [{"name": "Sharpen"}]}, "augment.0"),
        ({"augment": [{"name": "Sharpen"}], "multiply": 2}, "augment.0"),
        ({"augment": [{"name": "RGBShift", "p": 2}]}, "augment.0.RGBShift.p"),
        ({"augment": [{"name": "CoarseDropout", "fill_mask": 9}]}, "augment.0.fill_mask"),
        ({"balance": {"class": {"panda": 3}}}, "balance.class.panda"),
        ({"balance": {"class": {"panda": 0}}}, "balance.class.panda"),
        ({"balance": {"class": {"panda": 1, " panda": 2}}}, "balance.class"),
        (
            {"balance": {"coverage": {name: {"samples": 1, "min_share": 0.1} for name in ("bear", "bear ")}}},
            "balance.coverage",
        ),
        ({"balance": {"max_attempts": "5"}}, "balance.max_attempts"),
        ({"balance": {"class": {"panda": 8, "koala": -5}}}, "balance.class.koala"),
        ({"balance": {"coverage": {"tail": {"samples": 3, "min_share": 0.1}}}}, "balance.coverage.tail"),
        ({"balance": {"coverage": {"bear": {"samples": 6, "min_share": 0.1}}}}, "balance"),
        ({"condition": 0}, "condition"),
        ({"cuont": 5}, "cuont"),
        ({"project_id": "nothing"}, "project_id"),
        ({"project_id": "../x"}, "project_id"),
    ],
)
def test_a_bad_request_is_refused(
    api: httpx.Client, api_store: FileStore, project: str, changes: dict[str, Any], field: str
) -> None:
    answer = api.post("/generate", json={"project_id": project, "count": 5} | changes)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["type"] == "/problems/invalid-request"
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert list(api_store.list("jobs/")) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 1001}, "it may be 1000 at most"),
        (
            {"count": 600, "multiply": 2, "augment": [{"name": "HorizontalFlip"}]},
            "`count` × `multiply` is 1200, and 1000 are the most",
        ),
        ({"split": {"train": 0.8, "val": 0.3}}, "train, val and test add up to 1"),
        ({"multiply": 4}, "it makes augmented versions: name the steps in `augment`"),
    ],
)
def test_a_refusal_says_what_is_wrong_in_our_own_words(
    api: httpx.Client, project: str, changes: dict[str, Any], message: str
) -> None:
    answer = api.post("/generate", json={"project_id": project, "count": 5} | changes)
    assert [error["message"] for error in answer.json()["errors"]] == [message]


def test_faults_are_told_together(api: httpx.Client) -> None:
    answer = api.post("/generate", json={"project_id": "nothing", "count": 10**9})
    assert [error["field"] for error in answer.json()["errors"]] == ["count", "project_id"]


def test_of_very_many_faults_the_first_ones_are_told(api: httpx.Client, project: str) -> None:
    lines = {f"{number:x}": 1 for number in range(6000)}
    answer = api.post("/generate", json={"project_id": project, "count": 6000, "balance": {"class": lines}})
    errors = answer.json()["errors"]
    assert answer.status_code == 422
    assert (len(errors), errors[-1]["message"]) == (101, "5901 more faults")


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"\xff", b'"x"'])
def test_a_body_that_is_no_object_is_refused(api: httpx.Client, body: bytes) -> None:
    answer = api.post("/generate", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data", None])
def test_another_content_type_is_415(api: httpx.Client, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert api.post("/generate", content=b"{}", headers=headers).status_code == 415


def test_a_long_body_is_413(api: httpx.Client) -> None:
    answer = api.post("/generate", content=b" " * 100_000, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert answer.json()["detail"] == "The body may hold 65536 bytes. Send less."


def test_one_key_is_one_job(api: httpx.Client, project: str, redis: Redis, api_ledger: Ledger) -> None:
    body = {"project_id": project, "count": 5}
    headers = {"idempotency-key": "order 66"}
    jobs = {api.post("/generate", json=body, headers=headers).json()["id"] for _ in range(3)}
    assert len(jobs) == 1
    redis.flushall()
    api_ledger.start(*jobs)
    again = api.post("/generate", json=body, headers=headers)
    assert {again.json()["id"]} == jobs, "the store remembers the key"
    assert again.json()["state"] == "running"
    other = api.post("/generate", json=body | {"count": 6}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert len(api.get("/jobs").json()["jobs"]) == 1


def test_one_key_at_the_same_time_is_one_job(api: httpx.Client, project: str, redis: Redis) -> None:
    answers: list[httpx.Response] = []

    def post() -> None:
        headers = {"idempotency-key": "at once"}
        answers.append(api.post("/generate", json={"project_id": project, "count": 5}, headers=headers))

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [202] * 6
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(Queue(QUEUE_NAME, connection=redis).job_ids) == 1


def test_without_a_key_each_request_is_a_job(api: httpx.Client, project: str) -> None:
    body = {"project_id": project, "count": 5}
    assert len({api.post("/generate", json=body).json()["id"] for _ in range(3)}) == 3
