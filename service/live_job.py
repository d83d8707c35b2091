"""What Redis holds of a job in flight, and how it goes with the job's record."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import redis

from service.records import EventType, JobRecord, JobState, Phase, Progress

_LEFT = "left:"


class LoggedEvent(NamedTuple):
    """Something that happened to a job: `id` is about its moment, in microseconds since 1970, and orders events."""

    id: int
    type: EventType
    data: dict[str, Any]


def live_key(job_id: str) -> str:
    """The hash of what changes: state, phase, progress, and ids of events."""
    return f"labelmint:job:{job_id}"


def shards_key(job_id: str) -> str:
    """The hash shard → samples made."""
    return f"labelmint:job:{job_id}:shards"


def draws_key(job_id: str) -> str:
    """The hash shard → candidates judged and samples settled."""
    return f"labelmint:job:{job_id}:draws"


def finished_key(job_id: str) -> str:
    """The set of shards in the store."""
    return f"labelmint:job:{job_id}:finished"


def notes_key(job_id: str) -> str:
    """The sorted set of notes, by their moment."""
    return f"labelmint:job:{job_id}:notes"


def events_key(job_id: str) -> str:
    """The sorted set of events, by their ids; `ledger_scripts` says what is in it."""
    return f"labelmint:job:{job_id}:events"


def job_keys(job_id: str) -> tuple[str, ...]:
    """Every key of one job."""
    keys = (live_key, shards_key, draws_key, finished_key, notes_key, events_key)
    return tuple(key(job_id) for key in keys)


@dataclass(frozen=True, slots=True)
class LiveJob:
    """One job in Redis at one moment; without anything, where Redis has forgotten the job."""

    fields: Mapping[str, str]
    """Of the hash; what is counted by shards is summed up while samples are generated."""
    notes: list[str]
    logged: list[tuple[bytes, float]]
    time: float
    """When it was read, by the server's clock, in seconds since 1970."""

    @classmethod
    def read(cls, connection: redis.Redis, job_id: str) -> Self:
        """The job as Redis has it now. Errors of Redis pass through."""
        pipeline = connection.pipeline()
        pipeline.hgetall(live_key(job_id))
        pipeline.hvals(shards_key(job_id))
        pipeline.hvals(draws_key(job_id))
        pipeline.zrange(notes_key(job_id), 0, -1)
        pipeline.zrange(events_key(job_id), 0, -1, withscores=True)
        pipeline.time()
        live, shards, draws, notes, logged, (seconds, micros) = pipeline.execute()
        fields = {name.decode(): value.decode() for name, value in live.items()}
        if fields.get("phase") == Phase.GENERATE:
            judged, settled = (sum(int(shard.split()[place]) for shard in draws) for place in (0, 1))
            fields |= {"done": str(sum(map(int, shards))), "judged": str(judged), "settled": str(settled)}
        return cls(fields, [note.decode() for note in notes], logged, seconds + micros / 1e6)

    @property
    def state(self) -> JobState | None:
        """None where Redis has forgotten the job."""
        state = self.fields.get("state")
        return None if state is None else JobState(state)

    @property
    def log(self) -> list[LoggedEvent]:
        """What is known of the job's events between its acceptance and its end, in order."""
        events = [_logged(member.decode(), int(id_)) for member, id_ in self.logged]
        if "progress_event" in self.fields:
            events.append(_progress_event(int(self.fields["progress_event"]), self.fields))
        for name, value in self.fields.items():
            if name.startswith(_LEFT):
                id_, _, last = value.partition(" ")
                events.append(_progress_event(int(id_), json.loads(last)))
        return sorted(events, key=lambda event: event.id)

    def with_record(self, job: JobRecord) -> JobRecord:
        """The record of a job that has not ended, with what Redis knows better."""
        fields = self.fields
        known: dict[str, Any] = {
            name: fields[name] for name in ("state", "phase", "fit_key", "started") if name in fields
        }
        if job.state is JobState.CANCELLING:
            known["state"] = job.state  # whatever a worker has told a Redis that was lost
        known |= {name: int(fields[name]) for name in ("shards", "shard_size") if name in fields}
        known["progress"] = _progress(fields, self.time)
        known["notes"] = job.notes + self.notes
        return JobRecord.model_validate_json(json.dumps(job.model_dump(mode="json") | known, default=dict))


NOT_IN_REDIS = LiveJob({}, [], [], 0.0)
"""What is known of a job whose keys have expired, or cannot be read."""


def _logged(member: str, id_: int) -> LoggedEvent:
    _, type_, data = member.split(" ", 2)
    return LoggedEvent(id_, EventType(type_), json.loads(data))


def _progress_event(id_: int, fields: Mapping[str, str]) -> LoggedEvent:
    progress = _progress(fields, id_ / 1e6)
    return LoggedEvent(id_, EventType.PROGRESS, {"phase": fields.get("phase"), **progress.model_dump()})


def _progress(fields: Mapping[str, str], time: float) -> Progress:
    """How far the phase was at `time`, in seconds since 1970."""
    done, total = int(fields.get("done", 0)), int(fields.get("total", 0))
    elapsed = time - float(fields.get("phase_started", time))
    made = done - int(fields.get("before", 0))
    rate = made / elapsed if made > 0 and elapsed > 0 else None
    eta_s = max(0, total - done) / rate if rate else None
    details = json.loads(fields.get("details", "{}"))
    if judged := int(fields.get("judged", 0)):
        details["acceptance"] = round(int(fields["settled"]) / judged, 4)
    return Progress(done=done, total=total, rate=rate, eta_s=eta_s, details=details)
