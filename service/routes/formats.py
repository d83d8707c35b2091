"""`/jobs/{id}/formats`: having a finished dataset packed in further formats."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response
from pydantic import Field

from service.accepting import accept_job
from service.dataset_formats import advice_if_packed_otherwise, packed_otherwise, unsuited_formats
from service.dependencies import JobId, LedgerDep, QueueDep, StoreDep
from service.json_body import json_only
from service.openapi import problems
from service.problems import Problem, invalid_request, no_dataset
from service.projects import find_project
from service.records import JobRecord, JobState, ProjectRecord, shard_key
from service.requests import DatasetFormat, GenerateRequest, PackageRequest, Packaging
from service.routes.accepted import IdempotencyKey, accepted
from service.routes.jobs import find_job
from service.stores.protocol import Store
from service.views import JobView

router = APIRouter(prefix="/jobs", tags=["jobs"])

_EXAMPLES = {
    "COCO and YOLO": {"value": {"formats": ["coco", "yolo"]}},
    "in parts": {"value": {"formats": ["huggingface"], "split": {"train": 0.8, "val": 0.1, "test": 0.1}}},
}


class FormatsWanted(Packaging):
    """Formats to pack a dataset in. Without a split, it is cut as its job asked for."""

    formats: list[DatasetFormat] = Field(min_length=1)


@router.post(
    "/{job_id}/formats",
    status_code=202,
    summary="Pack a dataset in further formats",
    responses=problems(400, 404, 409, 410, 413, 415, 422, 503),
    dependencies=[Depends(json_only)],
)
def add_formats(
    job_id: JobId,
    wanted: Annotated[FormatsWanted, Body(openapi_examples=_EXAMPLES)],
    response: Response,
    store: StoreDep,
    ledger: LedgerDep,
    queue: QueueDep,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Have the samples of a finished job packed once more, with the seeds if it included them; nothing is generated
    again.

    The answer is a job to watch at `Location`. When it has succeeded, the job that made the samples offers the new
    zips, too. A format that the dataset has already is left as it is; 409 if it was cut into other parts. 410 once the
    samples are gone from the store, or the project was deleted.
    """
    source = find_job(ledger, job_id)
    if not isinstance(source.request, GenerateRequest):
        raise no_dataset()
    split = wanted.split or source.generate.split
    project_id = source.generate.project_id
    request = PackageRequest(job_id=source.id, project_id=project_id, formats=wanted.formats, split=split)
    check = partial(_check, request, source, store)
    return accepted(accept_job(request, idempotency_key, ledger, queue, check=check), response)


def _check(wanted: PackageRequest, source: JobRecord, store: Store) -> None:
    if source.state is not JobState.SUCCEEDED:
        detail = f"The job is {source.state}. Only a dataset of a job that has succeeded can be packed."
        raise Problem(409, "not-ready", "Not ready", detail)
    if complaints := unsuited_formats(wanted.formats, _still_there(store, source)):
        raise invalid_request(complaints)
    if taken := packed_otherwise(source, wanted.formats, wanted.split):
        raise Problem(409, "format-exists", "Format exists", advice_if_packed_otherwise(source, taken))


def _still_there(store: Store, source: JobRecord) -> ProjectRecord:
    project = find_project(store, source.project_id or "")
    if project is None:
        raise Problem(410, "project-gone", "Project gone", "The project was deleted, and with it what the labels mean.")
    first = shard_key(source.id, 0)
    shards = sum(1 for _ in store.list(first.removesuffix("00000.tar")))
    if shards == 0 or shards < (source.shards or 0):
        detail = "The samples were removed from the store. Send the request to generate again to make them anew."
        raise Problem(410, "dataset-gone", "Dataset gone", detail)
    return project
