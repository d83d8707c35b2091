"""Asking for a fit alone."""

import httpx
import pytest
from redis import Redis
from rq import Queue

from service.ledger import Ledger
from service.queue import QUEUE_NAME
from tests.service.uploads import good_files, post_files


@pytest.fixture
def project(api: httpx.Client) -> str:
    return str(post_files(api, good_files()).json()["id"])


def test_a_fit_is_accepted_and_queued(api: httpx.Client, project: str, redis: Redis, api_ledger: Ledger) -> None:
    answer = api.post(f"/projects/{project}/fit")
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}" == job["links"]["self"]
    assert int(answer.headers["retry-after"]) > 0
    assert (job["state"], job["request"]) == ("queued", {"task": "fit", "project_id": project})
    assert job["links"]["project"] == f"/projects/{project}"
    assert [job["links"][name] for name in ("report", "report_png", "sheet", "preview")] == [None] * 4
    assert Queue(QUEUE_NAME, connection=redis).job_ids == [f"{job['id']}-fit"]
    assert api_ledger.get(job["id"]).project_id == project
    assert [row["id"] for row in api.get("/jobs").json()["jobs"]] == [job["id"]]
    formats = api.post(f"/jobs/{job['id']}/formats", json={"formats": ["coco"]})
    assert (formats.status_code, formats.json()["type"]) == (409, "/problems/no-dataset")


def test_a_project_links_to_its_fit_and_what_comes_of_it(api: httpx.Client, project: str) -> None:
    links = api.get(f"/projects/{project}").json()["links"]
    assert api.get("/projects").json()["projects"][0]["links"] == links
    for name in ("report", "report_png", "sheet"):
        assert api.get(links[name]).json()["type"] == "/problems/not-fitted"
    assert api.post(links["fit"]).status_code == 202


def test_one_key_is_one_job(api: httpx.Client, project: str, redis: Redis) -> None:
    headers = {"idempotency-key": "once"}
    jobs = {api.post(f"/projects/{project}/fit", headers=headers).json()["id"] for _ in range(2)}
    redis.flushall()
    jobs.add(api.post(f"/projects/{project}/fit", headers=headers).json()["id"])
    assert len(jobs) == 1
    other = api.post("/generate", json={"project_id": project, "count": 5}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert api.post(f"/projects/{project}/fit").json()["id"] not in jobs


def test_a_project_that_is_not_there_is_404(api: httpx.Client) -> None:
    answer = api.post("/projects/none/fit")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
    assert api.get("/jobs").json()["jobs"] == []
