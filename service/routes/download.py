"""`/jobs/{id}/download`: the finished dataset, whole or in ranges."""

from collections.abc import Iterator
from email.utils import format_datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from service.dependencies import JobId, LedgerDep, StoreDep
from service.etags import is_held
from service.openapi import problems
from service.problems import Problem, no_dataset
from service.ranges import RangeNotSatisfiable, parse_range
from service.records import JobRecord, JobState
from service.requests import GenerateRequest, PackageRequest
from service.routes.jobs import dataset_gone, find_job
from service.stores.protocol import ObjectMissing, Store

router = APIRouter(prefix="/jobs", tags=["jobs"])

_CHUNK = 1 << 18
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {}}, "description": "The whole zip"},
    206: {"content": {"application/zip": {}}, "description": "The range asked for"},
    304: {"description": "Not modified"},
    307: {"description": "The zip lies at the `Location`, for a while"},
    **problems(404, 409, 410, 416, 422, 503),
}


@router.head("/{job_id}/download", include_in_schema=False)
@router.get("/{job_id}/download", summary="Download a dataset", response_class=Response, responses=_RESPONSES)
def download(
    job_id: JobId,
    request: Request,
    ledger: LedgerDep,
    store: StoreDep,
    format: Annotated[str | None, Query(max_length=32, description="the first one asked for, if left out")] = None,  # noqa: A002
    range: Annotated[str | None, Header(description="`bytes=a-b`: one range")] = None,  # noqa: A002
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The zip of one format. A store with URLs of its own is redirected to; otherwise it is streamed from here.

    409 until the job has succeeded, and for a job that makes no dataset; 410 if it failed or was cancelled, and once
    the zip is gone from the store.
    """
    job = _succeeded(find_job(ledger, job_id))
    name = format or next(iter(job.outputs))
    key = job.outputs.get(name)
    if key is None:
        made = ", ".join(sorted(job.outputs))
        raise Problem(404, "no-such-format", "No such format", f"The job made these formats: {made}.")
    file = f"labelmint-{job.id}-{name}.zip"
    try:
        size = store.size(key)
    except ObjectMissing:
        raise dataset_gone() from None
    etag = f'"{job.id}-{name}-{size}"'
    headers = {"Accept-Ranges": "bytes", "ETag": etag, "Cache-Control": "private, no-cache"}
    if job.finished:
        headers["Last-Modified"] = format_datetime(job.finished, usegmt=True)
    if is_held(etag, if_none_match):
        return Response(status_code=304, headers=headers)
    # A presigned URL holds for GET alone, so HEAD is answered from here.
    if request.method == "GET" and (url := store.presign(key, file)):
        return RedirectResponse(url, 307, {"Cache-Control": "no-store"})
    headers["Content-Disposition"] = f'attachment; filename="{file}"'
    if if_range is not None and if_range.strip() not in (etag, headers.get("Last-Modified")):
        range = None  # noqa: A001
    return _stream(store, key, size, range, headers, send_body=request.method == "GET")


def _succeeded(job: JobRecord) -> JobRecord:
    if not isinstance(job.request, GenerateRequest | PackageRequest):
        raise no_dataset()
    if job.state is JobState.SUCCEEDED:
        return job
    if job.state.is_terminal:
        detail = f"The job has {job.state}; it has nothing to download." if job.error is None else job.error.message
        raise Problem(410, "no-dataset", "No dataset", detail)
    detail = f"The job is {job.state}. Watch /jobs/{job.id} until it has succeeded."
    raise Problem(409, "not-ready", "Not ready", detail, headers={"Retry-After": "2"})


def _stream(
    store: Store, key: str, size: int, range_header: str | None, headers: dict[str, str], send_body: bool
) -> Response:
    try:
        span = parse_range(range_header, size)
    except RangeNotSatisfiable:
        detail = f"The zip holds {size} bytes."
        raise Problem(
            416, "range-not-satisfiable", "Range not satisfiable", detail, headers={"Content-Range": f"bytes */{size}"}
        ) from None
    start, end = span or (0, size)
    headers["Content-Length"] = str(end - start)
    if span:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if span else 200
    if not send_body:
        return Response(status_code=status, headers=headers, media_type="application/zip")
    return StreamingResponse(_chunks(store, key, start, end), status, headers, media_type="application/zip")


def _chunks(store: Store, key: str, start: int, end: int) -> Iterator[bytes]:
    with store.open(key, start, end) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
