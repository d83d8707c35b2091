"""`/generate`: asking for a dataset."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Request, Response
from redis import RedisError

from service.dependencies import LedgerDep, QueueDep, SettingsDep, StoreDep
from service.ids import new_id
from service.ledger import Ledger
from service.openapi import problems
from service.problems import Complaint, Problem, invalid_request, unsupported_media_type
from service.projects import find_project
from service.queue import JobQueue
from service.records import GenerateRequest, JobRecord, JobState
from service.views import JobView

router = APIRouter(tags=["jobs"])

_POLL_AFTER_S = 2
_EXAMPLES = {
    "200 samples": {"value": {"project_id": "k3v9p2m7xq4a", "count": 200, "seed": 1}},
    "less variety, stricter": {
        "value": {"project_id": "k3v9p2m7xq4a", "count": 10000, "truncation": 0.7, "discard_fraction": 0.2}
    },
}


def _json_only(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise unsupported_media_type("application/json")


@router.post(
    "/generate",
    status_code=202,
    summary="Generate a dataset",
    responses=problems(413, 415, 422, 503),
    dependencies=[Depends(_json_only)],
)
def generate(
    wanted: Annotated[GenerateRequest, Body(openapi_examples=_EXAMPLES)],
    response: Response,
    store: StoreDep,
    ledger: LedgerDep,
    queue: QueueDep,
    settings: SettingsDep,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=255, description="the same key and body again give the same job"),
    ] = None,
) -> JobView:
    """Ask for `count` labeled samples of a project. The first job of a project fits its labeler, too.

    The answer is a job to watch at `Location`. Sample i depends on `seed` and i alone: the same request gives the same
    bytes for every image and mask.
    """
    _check(wanted, settings.max_count, known_project=find_project(store, wanted.project_id) is not None)
    job_id = new_id() if idempotency_key is None else _id_of(idempotency_key)
    job = _accept(JobRecord(id=job_id, request=wanted), ledger, queue)
    response.headers["Location"] = f"/jobs/{job.id}"
    response.headers["Retry-After"] = str(_POLL_AFTER_S)
    return JobView.of(job)


def _check(wanted: GenerateRequest, max_count: int, known_project: bool) -> None:
    errors = []
    if wanted.count > max_count:
        remedy = "ask for fewer, in several jobs with different seeds"
        errors.append(Complaint(field="count", message=f"it may be {max_count} at most", remedy=remedy))
    if len(set(wanted.formats)) < len(wanted.formats):
        errors.append(Complaint(field="formats", message="a format is named twice", remedy="name each once"))
    if not known_project:
        remedy = "create one with POST /projects; GET /projects lists those there are"
        errors.append(Complaint(field="project_id", message="there is no such project", remedy=remedy))
    if errors:
        raise invalid_request(errors)


def _id_of(idempotency_key: str) -> str:
    """The job's id follows from the key, so the key is honoured as long as the job is known, even if Redis is wiped."""
    return f"k{hashlib.sha256(idempotency_key.encode()).hexdigest()[:23]}"


def _accept(job: JobRecord, ledger: Ledger, queue: JobQueue) -> JobRecord:
    accepted = ledger.accept(job)
    if accepted.request != job.request:
        detail = "This Idempotency-Key came with another body before. Use a new key for a new request."
        raise Problem(422, "idempotency-key-reused", "Idempotency key reused", detail)
    if accepted.state is JobState.QUEUED:
        try:
            queue.enqueue_fit(accepted.id)
        except RedisError:
            if accepted is job:
                _forget(job, ledger)
            raise
    return accepted


def _forget(job: JobRecord, ledger: Ledger) -> None:
    try:
        ledger.forget(job.id)
    except RedisError:
        # The record is gone from the store, which comes first; what Redis may still hold of it is never looked up.
        return
