"""`/jobs`: watching, stopping and looking at the work."""

import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service.cancelling import cancel
from service.dependencies import JobId, LedgerDep, QueueDep, StoreDep, WatchDep
from service.job_list import PLACE, job_page
from service.job_reader import JobMissing, JobReader
from service.ledger import JobFinished
from service.openapi import problems
from service.problems import Problem, not_found
from service.queue import JobQueue
from service.records import JobRecord, JobState, preview_key
from service.requests import GenerateRequest, PackageRequest, TrainRequest
from service.routes.png import PNG_ANSWERS, png_answer
from service.stores.protocol import ObjectMissing
from service.views import JobList, JobView

router = APIRouter(prefix="/jobs", tags=["jobs"])

MAX_WAIT_S = 60
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])")

_NO_WORKER = "No worker is there. The job waits until whoever runs the service starts one: `labelmint worker`."

PreferHeader = Annotated[
    str | None,
    Header(description="`wait=N`: answer when something changed, or after N seconds (60 at most)"),
]


@router.get("", summary="List jobs", responses=problems(422, 503))
def list_jobs(
    ledger: LedgerDep,
    queue: QueueDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="jobs to return at most")] = 100,
    state: Annotated[JobState | None, Query(description="only jobs in this state")] = None,
    before: Annotated[
        str | None, Query(pattern=PLACE, description="`next` of another answer: only jobs older than those in it")
    ] = None,
) -> JobList:
    """Jobs, those accepted or ended last first. To go on with older ones, ask again with `before` the answer's `next`.

    No answer looks at more than 1000 jobs that have ended. So with a `state` that is rare among them, it may have fewer
    jobs than `limit`, or none, and a `next` all the same. Jobs that have not ended are found at once.
    """
    page = job_page(ledger, limit, state, before)
    return JobList(jobs=_views(page.jobs, queue), next=page.next)


@router.get("/{job_id}", summary="Get a job", responses=problems(404, 503))
async def get_job(
    job_id: JobId,
    request: Request,
    response: Response,
    ledger: LedgerDep,
    queue: QueueDep,
    watch: WatchDep,
    prefer: PreferHeader = None,
) -> JobView:
    """State, phase and progress, and whether no worker is there to go on with it.

    With `Prefer: wait=N` the answer comes with the next change: no need to poll.
    """
    job = await run_in_threadpool(find_job, ledger, job_id)
    if (wait_s := wait_preferred(prefer, response)) and not job.state.is_terminal:
        before = _signature(job)
        changed = await watch.first(
            job_id, lambda history: _signature(history.job) != before, wait_s, request.is_disconnected
        )
        job = changed.job if changed else await run_in_threadpool(find_job, ledger, job_id)
    if not job.state.is_terminal:
        response.headers["Retry-After"] = "1"
    response.headers["Cache-Control"] = "no-store"
    (view,) = await run_in_threadpool(_views, [job], queue)
    return view


@router.post("/{job_id}/cancel", status_code=202, summary="Cancel a job", responses=problems(404, 409, 503))
def cancel_job(job_id: JobId, ledger: LedgerDep, queue: QueueDep) -> JobView:
    """Stop the job: at once if no worker is at it, otherwise as soon as its workers notice. May be called again.

    409 if the job has succeeded or failed.
    """
    try:
        cancel(job_id, ledger, queue)
    except JobMissing:
        raise not_found("job") from None
    except JobFinished:
        job = find_job(ledger, job_id)
        if job.state is not JobState.CANCELLED:
            detail = f"The job has {job.state} already; there is nothing to cancel."
            raise Problem(409, "job-finished", "Job finished", detail) from None
    return JobView.of(find_job(ledger, job_id))


@router.get(
    "/{job_id}/preview.png",
    summary="Look at the samples",
    response_class=Response,
    responses=PNG_ANSWERS | problems(404, 410, 503),
)
def get_preview(job_id: JobId, request: Request, ledger: LedgerDep, store: StoreDep) -> Response:
    """A picture of some samples with their labels laid over them, and a legend.

    Of a training job: samples of the same latents along the training, the newest below, while it goes on.

    404 before it is made, and for a job that makes no samples; 410 if there will be none, and once it is gone from the
    store.
    """
    job = find_job(ledger, job_id)
    try:
        preview = store.read(preview_key(job))
    except ObjectMissing:
        raise _no_preview(job) from None
    return png_answer(preview, request)


def _no_preview(job: JobRecord) -> Problem:
    is_training = isinstance(job.request, TrainRequest)
    status = 404
    if not (is_training or isinstance(job.request, GenerateRequest | PackageRequest)):
        place = f"/projects/{job.project_id}/sheet" if job.project_id else f"/generators/{job.generator_id}/samples"
        detail = f"The job makes no samples; look at {place}.png once it has succeeded."
    elif isinstance(job.request, PackageRequest) or (job.state is JobState.SUCCEEDED and not is_training):
        return dataset_gone()  # a dataset that is packed once more has had its preview before
    elif not job.state.is_terminal:
        made = "while a generator is trained" if is_training else "when the samples are packaged"
        detail = f"The job is {job.state}; its preview is made {made}."
    else:
        status = 410
        ended = "was cancelled" if job.state is JobState.CANCELLED else f"has {job.state}"
        reason = f" {job.error.message}" if job.error else ""
        detail = f"The job {ended}, and there is no preview of it.{reason}"
    return Problem(status, "no-preview", "No preview", detail)


def dataset_gone() -> Problem:
    """410: a dataset that was made is not in the store any more."""
    detail = "The dataset was removed from the store. Send the same request again to make it anew."
    return Problem(410, "dataset-gone", "Dataset gone", detail)


def _views(jobs: list[JobRecord], queue: JobQueue) -> list[JobView]:
    forsaken = any(not job.state.is_terminal for job in jobs) and queue.workers() == 0
    return [JobView.of(job, _NO_WORKER if forsaken and not job.state.is_terminal else None) for job in jobs]


def find_job(ledger: JobReader, job_id: str) -> JobRecord:
    """The job, or 404."""
    try:
        return ledger.get(job_id)
    except JobMissing:
        raise not_found("job") from None


def wait_preferred(prefer: str | None, response: Response) -> int:
    """How many seconds a client would rather wait than hear of nothing new; a header of `response` says that it may."""
    match = _WAIT.search(prefer.lower()) if prefer else None
    if match is None:
        return 0
    wait_s = min(int(match[1]), MAX_WAIT_S)
    response.headers["Preference-Applied"] = f"wait={wait_s}"
    return wait_s


def _signature(job: JobRecord) -> tuple[object, ...]:
    return job.state, job.phase, job.progress.done, job.progress.total
