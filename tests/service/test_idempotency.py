"""A request that is repeated with its key, long after what it was about is gone."""

from collections.abc import Callable

import httpx
import pytest

from service.ledger import Ledger
from service.records import JobError, JobRecord, shard_key
from service.requests import DatasetFormat, GenerateRequest
from service.stores import FileStore
from tests.service.generator_uploads import add_generator
from tests.service.uploads import good_files, post_files

HEADERS = {"Idempotency-Key": "for good"}
ERROR = JobError(code="x", message="x", retry=False)


@pytest.fixture
def project(api: httpx.Client, api_ledger: Ledger, api_store: FileStore) -> str:
    """A project, with a finished job `source` that made a dataset of it."""
    project = str(post_files(api, good_files()).json()["id"])
    request = GenerateRequest(project_id=project, count=5, formats=[DatasetFormat.PNG])
    api_ledger.accept(JobRecord(id="source", request=request))
    api_store.put(shard_key("source", 0), b"tar")
    api_ledger.succeed("source", {"png": "datasets/source/png.zip"})
    return project


def generate(api: httpx.Client, project: str, **changes: object) -> httpx.Response:
    return api.post("/generate", json={"project_id": project, "count": 5} | changes, headers=HEADERS)


def fit(api: httpx.Client, project: str) -> httpx.Response:
    return api.post(f"/projects/{project}/fit", headers=HEADERS)


def pack(api: httpx.Client, project: str) -> httpx.Response:
    return api.post("/jobs/source/formats", json={"formats": ["coco"]}, headers=HEADERS)


@pytest.mark.parametrize("ask", [generate, fit, pack])
def test_a_key_outlasts_its_project(
    api: httpx.Client, api_ledger: Ledger, project: str, ask: Callable[[httpx.Client, str], httpx.Response]
) -> None:
    job = ask(api, project)
    assert job.status_code == 202, job.text
    api_ledger.fail(job.json()["id"], ERROR)
    assert api.delete(f"/projects/{project}").status_code == 204
    again = ask(api, project)
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (202, job.json()["id"], "failed")


def test_a_key_of_another_request_is_told_though_the_project_is_gone(
    api: httpx.Client, api_ledger: Ledger, project: str
) -> None:
    api_ledger.fail(generate(api, project).json()["id"], ERROR)
    assert api.delete(f"/projects/{project}").status_code == 204
    other = generate(api, project, count=6)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")


def test_a_key_outlasts_its_generator(api: httpx.Client, api_ledger: Ledger, api_store: FileStore) -> None:
    add_generator(api_store)
    job = api.post("/generators/cats/encoder", headers=HEADERS).json()["id"]
    api_ledger.fail(job, ERROR)
    assert api.delete("/generators/cats").status_code == 204
    again = api.post("/generators/cats/encoder", headers=HEADERS)
    assert (again.status_code, again.json()["id"]) == (202, job)
    assert api.post("/generators/cats/encoder").status_code == 404
