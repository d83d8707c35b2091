"""`/jobs/{id}/events`: what happens to a job, as it happens."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic import BeforeValidator, Field
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from service.accept import preferred
from service.dependencies import JobId, LedgerDep, WatchDep
from service.job_events import EXAMPLE, EventPage, JobEvent, JobHistory
from service.job_reader import JobMissing, JobReader
from service.job_watch import JobWatch
from service.openapi import problems
from service.problems import Complaint, invalid_request, not_acceptable, not_found
from service.records import event_id, now
from service.routes.jobs import PreferHeader, wait_preferred

router = APIRouter(prefix="/jobs", tags=["jobs"])

HEARTBEAT_S = 15.0
"""A stream is silent for no longer, so that those between know that it lives, and we that the client does."""

_BEGIN = format_sse_event(retry=2000)
_STREAM, _PAGE = "text/event-stream", "application/json"
_A_DAY_US = 24 * 3600 * 10**6
_HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}


def _encoded(event: JobEvent) -> bytes:
    return format_sse_event(data_str=event.model_dump_json(), event=event.type, id=str(event.id))


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events",
        "content": {_STREAM: {"schema": {"type": "string"}, "example": (_BEGIN + _encoded(EXAMPLE)).decode()}},
    },
    204: {"description": "The stream is over: the job has ended, and the client has its last event"},
    **problems(404, 406, 422, 503),
}


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_model=EventPage,
    responses=_RESPONSES,
)
async def get_job_events(
    job_id: JobId,
    request: Request,
    response: Response,
    ledger: LedgerDep,
    watch: WatchDep,
    after: Annotated[int, Query(ge=0, description="only events that came after the one with this id")] = 0,
    last_event_id: Annotated[
        Annotated[int, Field(ge=0)] | None,
        BeforeValidator(lambda value: value or None),
        Header(description="the same, as an `EventSource` sends it when it comes back; goes before `after`"),
    ] = None,
    prefer: PreferHeader = None,
) -> Response | EventPage:
    """What happened to the job, and what happens to it until its end: a stream of server-sent events, or one page of
    JSON.

    **The stream** is what `curl -N` and a browser's `EventSource` get: `Accept: text/event-stream`, or whatever else
    covers it. Each event has its `type` as name, its `id`, and all of it as `data`. The stream begins with what has
    happened so far, or after the event that `Last-Event-ID` names, and closes after the job's end; who comes back then
    gets 204, upon which an `EventSource` comes back no more. If it closes earlier, come back with the last id.

    **The page** comes with `Accept: application/json`; then `Prefer: wait=N` lets the answer wait until there is an
    event to tell.

    Progress is told at the pace it can be sent, and of what is past only the latest of each phase is kept. A job that
    ended long ago still has events for what its record tells: its acceptance, its start, its end.
    """
    media_type = preferred(",".join(request.headers.getlist("accept")), (_STREAM, _PAGE))
    if media_type is None:
        raise not_acceptable((_STREAM, _PAGE))
    start = after if last_event_id is None else last_event_id
    if start > event_id(now()) + _A_DAY_US:
        field = "after" if last_event_id is None else "last-event-id"
        complaint = Complaint(field=field, message="no event has this id yet", remedy="send the id of an event, or 0")
        raise invalid_request([complaint])
    history = await run_in_threadpool(_history, ledger, job_id)
    if media_type == _STREAM:
        if history.ended and not history.after(start):
            return Response(status_code=204, headers=_HEADERS)
        return _EventStream(_stream(watch, history, start), headers={**_HEADERS, "X-Accel-Buffering": "no"})
    response.headers.update(_HEADERS)

    def has_news(history: JobHistory) -> bool:
        return history.ended or bool(history.after(start))

    if (wait_s := wait_preferred(prefer, response)) and not has_news(history):
        history = await watch.first(job_id, has_news, wait_s, request.is_disconnected) or history
    events = history.after(start)
    return EventPage(events=events, next=events[-1].id if events else start, ended=history.ended)


class _EventStream(EventSourceResponse):
    """Lets go of the job as soon as the client does."""

    body_iterator: AsyncGenerator[bytes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.body_iterator):
            await super().__call__(scope, receive, send)


async def _stream(watch: JobWatch, history: JobHistory, start: int) -> AsyncGenerator[bytes]:
    yield _BEGIN
    with watch.joined(history.job.id) as watcher:
        while True:
            for event in history.after(start):
                yield _encoded(event)
                start = event.id
            if history.ended or watcher.is_over:
                return
            while (news := await watcher.next(HEARTBEAT_S)) is None:
                if watcher.is_over:
                    return
                yield KEEPALIVE_COMMENT
            history = news


def _history(ledger: JobReader, job_id: str) -> JobHistory:
    try:
        return JobHistory.of(ledger.history(job_id))
    except JobMissing:
        raise not_found("job") from None
