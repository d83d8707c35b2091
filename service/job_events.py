"""What happened to a job, from its acceptance to its end, as it goes over HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import Field

from service.job_reader import LoggedJob
from service.label_schema import Record
from service.live_job import LoggedEvent
from service.records import EventType, JobRecord, event_id
from service.views import JobView

END_DELAY_US = 60_000_000
"""The id of a job's last event lies so much after its moment: it is known from the job's record alone, and yet greater
than the ids of all events before, whatever clocks gave them and however long the record took to be written."""


class JobEvent(Record):
    """Something that happened to a job.

    What `data` has, by `type`: `queued`: `task`. `phase`: `phase`, `total`. `progress`: `phase` and what a job has as
    `progress`. `note`: `note`. `interrupted`: `part`, `reason`, of work that is begun again. `succeeded`, `failed`,
    `cancelled`: `error`, `notes`, `links`, as the job has them. Others: nothing.
    """

    id: int = Field(description="greater than those of all events before; nothing else should be read into it")
    time: datetime
    type: EventType
    data: dict[str, Any]


EXAMPLE = JobEvent(
    id=1790000012345678,
    time=datetime(2026, 9, 21, 13, 33, 32, 345_000, UTC),
    type=EventType.PROGRESS,
    data={"phase": "generate", "done": 1200, "total": 2000, "rate": 296.1, "eta_s": 2.7, "details": {}},
)
"""What an event looks like, for the documentation."""


class EventPage(Record):
    """Events of a job, oldest first."""

    events: list[JobEvent] = Field(examples=[[EXAMPLE.model_dump(mode="json")]])
    next: int = Field(description="what to send as `after` for those that come later")
    ended: bool = Field(description="whether there will be no later ones")


@dataclass(frozen=True, slots=True)
class JobHistory:
    """A job and its events, as of one moment."""

    job: JobRecord
    events: list[JobEvent]
    """All that are kept, oldest first: of progress, the latest of each phase."""

    @classmethod
    def of(cls, logged: LoggedJob) -> Self:
        """The history of this job. Its record tells of acceptance and end, and where Redis was lost of its start."""
        job = logged.job
        between = [_event(event) for event in sorted([*_on_record(logged), *logged.log], key=lambda event: event.id)]
        return cls(job, [*between, _end(job, between[-1].id)] if job.state.is_terminal else between)

    @property
    def ended(self) -> bool:
        """Whether the last of the events is the last of all."""
        return self.job.state.is_terminal

    def after(self, event: int) -> list[JobEvent]:
        """The events that came after the one with this id, which need not be among them."""
        return [later for later in self.events if later.id > event]


def _on_record(logged: LoggedJob) -> Iterator[LoggedEvent]:
    job, accepted = logged.job, event_id(logged.job.created)
    yield LoggedEvent(accepted, EventType.QUEUED, {"task": job.request.task})
    if job.started is not None and all(event.type is not EventType.RUNNING for event in logged.log):
        yield LoggedEvent(max(event_id(job.started), accepted + 1), EventType.RUNNING, {})


def _event(logged: LoggedEvent) -> JobEvent:
    moment = datetime.fromtimestamp(logged.id // 1000 / 1000, UTC)
    return JobEvent(id=logged.id, time=moment, type=logged.type, data=logged.data)


def _end(job: JobRecord, before: int) -> JobEvent:
    view = JobView.of(job).model_dump(mode="json")
    moment = job.finished or job.started or job.created
    return JobEvent(
        id=max(event_id(moment) + END_DELAY_US, before + 1),
        time=moment,
        type=EventType(job.state),
        data={name: view[name] for name in ("error", "notes", "links")},
    )
