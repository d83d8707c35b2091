"""`/generate`: asking for a dataset."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response

from service.accepting import accept_job
from service.augmentation import misfits
from service.balance import look_up
from service.dataset_formats import unsuited_formats
from service.dependencies import LedgerDep, QueueDep, SettingsDep, StoreDep
from service.file_faults import shortened
from service.generators import find_generator
from service.json_body import json_only
from service.openapi import problems
from service.problems import Complaint, invalid_request
from service.projects import find_project
from service.records import GeneratorRecord, ProjectRecord
from service.requests import GenerateRequest
from service.routes.accepted import IdempotencyKey, accepted
from service.stores.protocol import Store
from service.views import JobView

router = APIRouter(tags=["jobs"])

_EXAMPLES = {
    "200 samples": {"value": {"project_id": "k3v9p2m7xq4a", "count": 200, "seed": 1}},
    "1,000 samples, and the seeds beside them": {
        "value": {"project_id": "k3v9p2m7xq4a", "count": 1000, "include_seeds": True}
    },
    "COCO and YOLO, split": {
        "value": {
            "project_id": "k3v9p2m7xq4a",
            "count": 5000,
            "formats": ["coco", "yolo"],
            "split": {"train": 0.8, "val": 0.2},
            "image_format": "jpeg",
        }
    },
    "500 pandas among 2,000, flipped and recoloured": {
        "value": {
            "project_id": "k3v9p2m7xq4a",
            "count": 2000,
            "balance": {"class": {"panda": 500}},
            "augment": [{"name": "HorizontalFlip", "p": 0.5}, {"name": "RGBShift", "p": 0.3}],
        }
    },
    "less variety, stricter": {
        "value": {"project_id": "k3v9p2m7xq4a", "count": 10000, "truncation": 0.7, "discard_fraction": 0.2}
    },
}


@router.post(
    "/generate",
    status_code=202,
    summary="Generate a dataset",
    responses=problems(400, 413, 415, 422, 503),
    dependencies=[Depends(json_only)],
)
def generate(
    wanted: Annotated[GenerateRequest, Body(openapi_examples=_EXAMPLES)],
    response: Response,
    store: StoreDep,
    ledger: LedgerDep,
    queue: QueueDep,
    settings: SettingsDep,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Ask for `count` labeled samples of a project. The first job of a project fits its labeler, too.

    The answer is a job to watch at `Location`. Sample i depends on `seed` and i alone: the same request gives the same
    bytes for every image and mask. With `include_seeds`, the zips hold the project's seeds beside the samples.
    """
    check = partial(_check, wanted, settings.max_count, store)
    return accepted(accept_job(wanted, idempotency_key, ledger, queue, check=check), response)


def _check(wanted: GenerateRequest, max_count: int, store: Store) -> None:
    errors = []
    if wanted.delivered > max_count:
        message, remedy = f"it may be {max_count} at most", "ask for fewer, in several jobs with different seeds"
        if wanted.multiply > 1:
            message = f"`count` × `multiply` is {wanted.delivered}, and {max_count} are the most"
        errors.append(Complaint(field="count", message=message, remedy=remedy))
    project = find_project(store, wanted.project_id)
    if project is None:
        remedy = "create one with POST /projects; GET /projects lists those there are"
        errors.append(Complaint(field="project_id", message="there is no such project", remedy=remedy))
    else:
        errors += _misfits(wanted, project, find_generator(store, project.generator))
    if errors:
        raise invalid_request(shortened(errors))


def _misfits(wanted: GenerateRequest, project: ProjectRecord, generator: GeneratorRecord | None) -> list[Complaint]:
    """What the request asks for that this project or its generator cannot give."""
    complaints = look_up(wanted.balance, project)[1] if wanted.balance is not None else []
    if wanted.ignore_fraction and not project.classes:
        remedy = "leave it out: it marks pixels of masks"
        complaints.append(Complaint(field="ignore_fraction", message="the project has no segmentation", remedy=remedy))
    complaints += [
        Complaint(field=misfit.field, message=misfit.message, remedy=misfit.remedy)
        for misfit in misfits(wanted.augment, project)
    ]
    complaints += unsuited_formats(wanted.formats, project)
    conditions = generator.conditions if generator is not None else 0
    if wanted.condition is not None and wanted.condition >= conditions:
        message = f"the generator has {conditions} classes" if conditions else "the generator is not class-conditional"
        remedy = f"choose 0 to {conditions - 1}" if conditions else "leave it out"
        complaints.append(Complaint(field="condition", message=message, remedy=remedy))
    return complaints
