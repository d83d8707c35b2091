"""The application as a whole: health, metrics, documents, and parts that are down."""

import errno
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from fastapi.testclient import TestClient
from redis import Redis, RedisError
from rq import Queue, Worker
from rq.utils import utcformat
from structlog.testing import CapturingLogger

from service.app import create_app
from service.dependencies import Parts
from service.queue import QUEUE_NAME, JobQueue
from service.records import GeneratorRecord
from service.settings import Settings
from service.stores import FileStore
from tests.service.jobs import make_generator, make_job
from tests.service.processes import api_process
from tests.service.uploads import good_files, post_files

PROBLEM = "application/problem+json"
THREADS = 40
"""So many answers that are not `async` does the framework work on at once."""


def client_of(settings: Settings, **changes: Any) -> TestClient:
    app = create_app(settings.model_copy(update=changes))
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


def parts_of(client: TestClient) -> Parts:
    parts = client.app.state.parts  # type: ignore[attr-defined]
    assert isinstance(parts, Parts)
    return parts


def test_a_healthy_service_is_alive_and_ready(api: httpx.Client) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    assert api.get("/readyz").json() == {"status": "ready", "store": "ok", "redis": "ok"}


def test_the_documentation_page_needs_nothing_from_elsewhere(api: httpx.Client) -> None:
    page = api.get("/docs").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) >= 3
    for link in links:
        assert link.startswith("/")
        assert api.get(link).status_code == 200
    assert "https://" not in page


def test_generators_are_listed(api: httpx.Client) -> None:
    assert [row["id"] for row in api.get("/generators").json()["generators"]] == ["toy"]
    assert api.get("/generators/toy").json()["resolution"] == 64
    for missing in ("dogs", "..%2f..", "A"):
        answer = api.get(f"/generators/{missing}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/projects", 405)])
def test_a_wrong_address_or_method_is_a_problem(api: httpx.Client, method: str, path: str, status: int) -> None:
    answer = api.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert answer.json()["type"] in ("/problems/not-found", "/problems/method-not-allowed")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/projects", "GET, POST"),
        ("POST", "/projects/abc", "GET, PATCH, DELETE"),
        ("PUT", "/generators", "GET, POST"),
        ("HEAD", "/generators/toy", "GET, DELETE"),
        ("POST", "/", "GET, HEAD"),
        ("TRACE", "/", "GET, HEAD"),
        ("POST", "/jobs/x/download", "GET, HEAD"),
        ("PUT", "/jobs/x/cancel", "POST"),
        ("POST", "/docs", "GET"),
        ("DELETE", "/static-offline-docs/swagger-ui.css", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_answered_with_all_that_the_address_has(
    api: httpx.Client, method: str, path: str, allowed: str
) -> None:
    answer = api.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_metrics_count_requests_by_route_and_jobs_by_state(api: httpx.Client, api_ledger: Any) -> None:
    api_ledger.accept(make_job())
    api.get("/jobs/job-1")
    api.get("/jobs/other")
    api.request("PUT", "/jobs")
    api.request("BREW", "/somewhere")
    text = api.get("/metrics").text
    assert 'labelmint_http_requests_total{method="GET",route="/jobs/{job_id}",status="200"}' in text
    assert 'labelmint_http_requests_total{method="GET",route="/jobs/{job_id}",status="404"}' in text
    assert 'labelmint_jobs{state="queued"} 1.0' in text
    assert "labelmint_http_request_duration_seconds_bucket" in text
    assert "BREW" not in text
    assert "somewhere" not in text


def test_metrics_tell_whether_anybody_does_the_work(api: httpx.Client, redis: Redis, settings: Settings) -> None:
    text = api.get("/metrics").text
    for figure in ("redis_up 1.0", "store_up 1.0", "workers 0.0", "parts_waiting 0.0"):
        assert f"\nlabelmint_{figure}\n" in text
    assert "\nlabelmint_oldest_part_waiting_seconds 0.0\n" in text
    Worker([Queue(QUEUE_NAME, connection=redis)], connection=redis).register_birth()
    JobQueue(redis, settings).enqueue_fit("job-1")
    since = datetime.now(UTC) - timedelta(hours=1)
    redis.hset("rq:job:job-1-fit", "enqueued_at", utcformat(since))
    text = api.get("/metrics").text
    for figure in ("workers 1.0", "parts_waiting 1.0"):
        assert f"\nlabelmint_{figure}\n" in text
    assert re.search(r"\nlabelmint_oldest_part_waiting_seconds 36\d\d\.", text)
    redis.delete("rq:job:job-1-fit")
    assert "labelmint_oldest" not in api.get("/metrics").text, "nobody knows"


def test_the_document_describes_every_route(api: httpx.Client) -> None:
    document = api.get("/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    assert {"create_project", "generate", "get_job", "download", "cancel_job"} <= set(ids)
    for operation in operations:
        assert operation["summary"]
        assert operation["description"]
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == [PROBLEM], operation["operationId"]
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= operation["responses"].keys(), operation["operationId"]
    assert {"ProblemDocument", "Complaint"} <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_a_body_that_is_not_utf_8_is_400(api: httpx.Client, api_ledger: Any) -> None:
    api_ledger.accept(make_job())
    for path in ("/generate", "/jobs/job-1/formats"):
        answer = api.post(path, content=b'{"a": "\xff"}', headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request")


def test_each_request_has_an_id(api: httpx.Client) -> None:
    ids = {api.get("/healthz").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_without_redis_the_service_says_so(settings: Settings, store: FileStore) -> None:
    store.put(GeneratorRecord.key("toy"), make_generator().model_dump_json().encode())
    client = client_of(settings, redis_url="redis://127.0.0.1:9/0")
    answer = client.get("/readyz")
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (503, ["redis"])
    assert client.get("/healthz").status_code == 200
    project = post_files(client, good_files()).json()["id"]
    answer = client.post("/generate", json={"project_id": project, "count": 1})
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/redis-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert list(store.list("jobs/")) == []
    metrics = client.get("/metrics")
    assert metrics.status_code == 200
    assert "\nlabelmint_redis_up 0.0\n" in metrics.text
    assert "\nlabelmint_store_up 1.0\n" in metrics.text
    assert "labelmint_workers" not in metrics.text
    assert "waiting" not in metrics.text
    assert 'labelmint_http_requests_total{method="POST",route="/generate",status="503"} 1.0' in metrics.text
    assert "labelmint_jobs" not in metrics.text


def test_who_waits_for_redis_does_not_keep_the_service_from_being_alive(tmp_path: Path) -> None:
    with ExitStack() as stack:
        mute = socket.create_server(("127.0.0.1", 0), backlog=100)
        api = stack.enter_context(api_process(tmp_path, f"redis://127.0.0.1:{mute.getsockname()[1]}/0"))
        waiting = stack.enter_context(ThreadPoolExecutor(THREADS))
        with mute:
            for _ in range(THREADS):
                waiting.submit(httpx.get, f"{api.url}/readyz", timeout=60)
            held = [mute.accept()[0] for _ in range(THREADS)]
            assert httpx.get(f"{api.url}/healthz", timeout=10).status_code == 200
            metrics = httpx.get(f"{api.url}/metrics", timeout=10)  # as long as Prometheus waits
            assert "\nlabelmint_redis_up 0.0\n" in metrics.text
        for connection in held:
            connection.close()


def test_without_a_store_the_service_says_so(settings: Settings, tmp_path: Path) -> None:
    client = client_of(settings)
    (tmp_path / "store" / ".incoming").rmdir()
    (tmp_path / "store").rmdir()
    answer = client.get("/readyz")
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (503, ["store"])
    assert "\nlabelmint_store_up 0.0\n" in client.get("/metrics").text
    answer = client.get("/generators")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-unavailable")
    assert str(tmp_path) not in answer.text


def test_a_full_store_is_called_so(settings: Settings, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(GeneratorRecord.key("toy"), make_generator().model_dump_json().encode())
    client = client_of(settings)
    before = [row.key for row in store.list()]

    def refuse(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    answer = post_files(client, good_files())
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-full")
    assert [row.key for row in store.list()] == before


def test_what_somebody_else_is_at_work_on_is_busy(
    settings: Settings, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(GeneratorRecord.key("toy"), make_generator().model_dump_json().encode())
    client = client_of(settings)
    project = post_files(client, good_files()).json()["id"]
    monkeypatch.setattr("service.locks.Lock.acquire", lambda *_, **__: False)
    answer = client.delete(f"/projects/{project}")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/busy")
    assert project in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0


def test_a_job_that_cannot_be_queued_leaves_nothing(
    settings: Settings, store: FileStore, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(GeneratorRecord.key("toy"), make_generator().model_dump_json().encode())
    client = client_of(settings)
    project = post_files(client, good_files()).json()["id"]

    def refuse(job_id: str) -> str:
        raise RedisError("gone")

    monkeypatch.setattr(parts_of(client).queue, "enqueue_fit", refuse)
    assert client.post("/generate", json={"project_id": project, "count": 1}).status_code == 503
    assert list(store.list("jobs/")) == []
    assert redis.keys("labelmint:job:*") == []


def test_a_logged_path_does_not_steer_a_terminal(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CapturingLogger()
    monkeypatch.setattr("service.observation._log", log)
    client_of(settings).get("/projects/%1b%5d0;owned%07%0a" + "x" * 500)
    path = log.calls[0].kwargs["path"]
    assert path.startswith("/projects/�]0;owned��xxx")
    assert len(path) == 200


def test_an_unexpected_error_tells_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(settings)

    def explode(_: str) -> bytes:
        raise RuntimeError("secret")

    monkeypatch.setattr(parts_of(client).store, "read", explode)
    answer = client.get("/projects/abc")
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert "secret" not in answer.text


def test_a_store_with_addresses_of_its_own_is_redirected_to(
    settings: Settings, s3_endpoint: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1").create_bucket(Bucket="downloads")
    client = client_of(settings, store_url="s3://downloads/here", s3_endpoint_url=s3_endpoint)
    parts = parts_of(client)
    job = parts.ledger.accept(make_job())
    parts.store.put("datasets/job-1/png.zip", b"zip")
    parts.ledger.succeed(job.id, {"png": "datasets/job-1/png.zip"})
    answer = client.get("/jobs/job-1/download?format=png")
    assert answer.status_code == 307
    assert httpx.get(answer.headers["location"]).content == b"zip"
    head = client.head("/jobs/job-1/download?format=png", headers={"range": "bytes=1-"})
    assert (head.status_code, head.headers["content-length"], head.content) == (206, "2", b"")
    head = client.head("/jobs/job-1/download?format=png")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "3", b"")
    assert head.headers["etag"]
    parts.store.delete("datasets/job-1/png.zip")
    for method in ("GET", "HEAD"):
        assert client.request(method, "/jobs/job-1/download?format=png").status_code == 410
