"""How a route answers that takes on a job."""

from typing import Annotated

from fastapi import Header, Response

from service.records import JobRecord
from service.views import JobView

_POLL_AFTER_S = 2

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="the same key and body again give the same job"),
]


def accepted(job: JobRecord, response: Response) -> JobView:
    """The view of a job that was taken on; the headers of `response` say where to watch it, and when to look."""
    response.headers["Location"] = f"/jobs/{job.id}"
    response.headers["Retry-After"] = str(_POLL_AFTER_S)
    return JobView.of(job)
