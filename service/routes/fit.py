"""`/projects/{id}/fit`: learning a project's labels without generating anything yet."""

from functools import partial

from fastapi import APIRouter, Response

from service.accepting import accept_job
from service.dependencies import LedgerDep, ProjectId, QueueDep, StoreDep
from service.openapi import problems
from service.projects import known_project
from service.requests import FitRequest
from service.routes.accepted import IdempotencyKey, accepted
from service.views import JobView

router = APIRouter(prefix="/projects", tags=["projects"])


@router.post("/{project_id}/fit", status_code=202, summary="Fit the labeler", responses=problems(404, 422, 503))
def fit(
    project_id: ProjectId,
    response: Response,
    store: StoreDep,
    ledger: LedgerDep,
    queue: QueueDep,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Invert the seeds and fit the project's labeler, to learn how right the labels will be before generating.

    The answer is a job to watch at `Location`; when it has succeeded, it links to the report and the sheet. A labeler
    that is there already is not fitted again, and `POST /generate` uses it.
    """
    request, find = FitRequest(project_id=project_id), partial(known_project, store, project_id)
    return accepted(accept_job(request, idempotency_key, ledger, queue, check=find), response)
