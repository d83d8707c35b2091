"""Jobs that fit and make nothing, through the API and real workers: what is learnt is known before any sample."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import httpx
import pytest
import redis as redis_client
from fastapi.testclient import TestClient

from service.app import create_app
from service.ledger import Ledger
from service.queue import JobQueue
from service.records import JobRecord, JobState, Phase, ProjectRecord, SeedRecord
from service.redis_client import connect
from service.requests import FitRequest
from service.settings import Settings
from service.stores import FileStore
from tests.workers.processes import kill, wait_for, worker
from tests.workers.world import CLASSES, PROJECT, make_world
from workers.fit_notes import fit_notes
from workers.labelers import read_report
from workers.recover import recover


@dataclass
class Service:
    """An API in this process, and workers on demand."""

    api: TestClient
    store: FileStore
    connection: redis_client.Redis
    ledger: Ledger
    queue: JobQueue
    settings: Settings
    folder: Path

    def worker(self) -> AbstractContextManager[Popen[bytes]]:
        return worker(self.settings, self.folder / "worker.log")

    def fit(self, project: str) -> str:
        answer = self.api.post(f"/projects/{project}/fit")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def is_fitting(self, job_id: str) -> bool:
        return self.ledger.get(job_id).phase in (Phase.INVERT, Phase.FIT)

    def ended(self, job_id: str) -> JobRecord:
        wait_for(lambda: self.ledger.get(job_id).state.is_terminal, 120, f"{job_id} has ended")
        return self.ledger.get(job_id)

    def labelers(self) -> dict[str, object]:
        return {row.key: row.modified for row in self.store.list("labelers/")}

    def another_project(self, name: str) -> str:
        """The same seeds with a class of another name: another labeler."""
        project = ProjectRecord.model_validate_json(self.store.read(ProjectRecord.key(PROJECT)))
        classes = [CLASSES[0].model_copy(update={"name": name}), *CLASSES[1:]]
        changed = project.model_copy(update={"id": name, "classes": classes})
        for seed in project.seeds:
            for file in ("image.png", "segmentation.png"):
                data = self.store.read(ProjectRecord.seed_key(PROJECT, seed.index, file))
                self.store.put(ProjectRecord.seed_key(name, seed.index, file), data)
        self.store.put(ProjectRecord.key(name), changed.model_dump_json().encode())
        return name

    def notes_of_the_fit(self, job: JobRecord) -> list[str]:
        """What a job is to tell about the labeler that it found or made."""
        assert job.fit_key is not None
        project = ProjectRecord.model_validate_json(self.store.read(ProjectRecord.key(PROJECT)))
        return fit_notes(read_report(self.store, job.fit_key), project)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    settings = Settings(
        _env_file=None,
        store_url=f"file://{folder / 'store'}",
        redis_url=redis_url,
        data_dir=folder / "data",
        encoder_steps=6,
    )
    connection = connect(redis_url)
    connection.flushall()
    store = FileStore(folder / "store")
    make_world(store, folder / "scratch")
    ledger, queue = Ledger(store, connection, 3600), JobQueue(connection, settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with TestClient(create_app(settings)) as api:
            yield Service(api, store, connection, ledger, queue, settings, folder)
    connection.close()


@pytest.fixture(scope="module")
def fitted(service: Service) -> JobRecord:
    """The job that fitted the project, and trained the encoder that this needs."""
    job_id = service.fit(PROJECT)
    with service.worker():
        return service.ended(job_id)


def test_the_report_is_there_before_anything_is_generated(service: Service, fitted: JobRecord) -> None:
    assert (fitted.state, fitted.error, fitted.outputs) == (JobState.SUCCEEDED, None, {})
    links = service.api.get(f"/jobs/{fitted.id}").json()["links"]
    assert (links["download"], links["preview"], links["cancel"]) == ({}, None, None)
    assert links["report"] == f"/projects/{PROJECT}/report"
    report = service.api.get(links["report"])
    assert report.status_code == 200, report.text
    names = [SeedRecord.model_validate(seed).name for seed in service.api.get(links["project"]).json()["seeds"]]
    assert [seed["name"] for seed in report.json()["seeds"]] == names
    assert report.json()["fit_key"] == fitted.fit_key
    assert fitted.fit_key is not None
    encoder, *notes = fitted.notes
    assert "The encoder was trained" in encoder
    assert notes == service.notes_of_the_fit(fitted)
    assert notes
    for name, file in (("report_png", "report.png"), ("sheet", "sheet.png")):
        assert links[name] == f"/projects/{PROJECT}/{file}"
        assert service.api.get(links[name]).headers["content-type"] == "image/png"
    assert service.api.get("/generators/tiny").json()["has_encoder"]
    missing = service.api.get(f"/jobs/{fitted.id}/preview.png")
    assert (missing.status_code, "makes no samples" in missing.json()["detail"]) == (404, True)


def test_what_was_fitted_is_not_fitted_again(service: Service, fitted: JobRecord) -> None:
    before = service.labelers()
    again = service.fit(PROJECT)
    generate = service.api.post("/generate", json={"project_id": PROJECT, "count": 4}).json()["id"]
    with service.worker():
        jobs = [service.ended(job_id) for job_id in (again, generate)]
    assert [(job.state, job.error, job.fit_key) for job in jobs] == [(JobState.SUCCEEDED, None, fitted.fit_key)] * 2
    assert jobs[0].phase is None, "it neither inverted nor fitted"
    assert jobs[0].notes == service.notes_of_the_fit(fitted)
    assert service.labelers() == before


def test_a_cancelled_fit_leaves_no_report(service: Service, fitted: JobRecord) -> None:
    project = service.another_project("cancelled")
    job_id = service.fit(project)
    queued = service.fit(project)
    assert service.api.post(f"/jobs/{queued}/cancel").json()["state"] == "cancelled"
    with service.worker():
        wait_for(lambda: service.is_fitting(job_id), 60, "it is at work")
        assert service.api.post(f"/jobs/{job_id}/cancel").json()["state"] == "cancelling"
        assert service.ended(job_id).state is JobState.CANCELLED
    assert service.api.get(f"/projects/{project}/report").status_code == 404


def test_a_fit_that_takes_too_long_says_which_limit_to_raise(service: Service, fitted: JobRecord) -> None:
    request = FitRequest(project_id=service.another_project("slow"))
    job = service.ledger.accept(JobRecord(id="slow", request=request))
    JobQueue(service.connection, service.settings.model_copy(update={"fit_timeout_s": 1})).enqueue_job(job)
    with service.worker():
        error = service.ended("slow").error
    assert error is not None
    assert (error.code, error.retry) == ("timeout", False)
    assert error.message.startswith("The fit took longer than LABELMINT_FIT_TIMEOUT_S allows, which is 1 s.")


def test_a_killed_worker_s_fit_is_taken_over(service: Service, fitted: JobRecord) -> None:
    project = service.another_project("killed")
    job_id = service.fit(project)
    with service.worker() as first:
        wait_for(lambda: service.is_fitting(job_id), 60, "it is at work")
        kill(first.pid)
    assert service.ledger.get(job_id).state is JobState.RUNNING
    with service.worker():
        job = service.ended(job_id)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert service.api.get(f"/projects/{project}/report").json()["fit_key"] == job.fit_key != fitted.fit_key


def test_a_wiped_redis_costs_no_fit(service: Service, fitted: JobRecord) -> None:
    job_id = service.fit(service.another_project("wiped"))
    service.connection.flushall()
    assert recover(service.ledger, service.queue) == 1
    with service.worker():
        wait_for(lambda: service.is_fitting(job_id), 60, "it is at work")
        service.connection.flushall()
        assert recover(service.ledger, service.queue) == 1
        job = service.ended(job_id)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert recover(service.ledger, service.queue) == 0


def test_a_project_that_is_fitted_is_not_deleted(service: Service) -> None:
    project = service.another_project("used")
    job_id = service.fit(project)
    answer: httpx.Response = service.api.delete(f"/projects/{project}")
    assert (answer.status_code, job_id in answer.json()["detail"]) == (409, True)
    service.ledger.cancel(job_id)
    assert service.api.delete(f"/projects/{project}").status_code == 204
