"""What is known of jobs: the store's word for what must survive, Redis's for what changes every second."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, cast

import redis

from service import ledger_scripts as scripts
from service.live_job import NOT_IN_REDIS, LiveJob, LoggedEvent, live_key
from service.records import EventType, JobRecord, JobState, event_id, now
from service.stores.protocol import ObjectMissing, Store


class JobMissing(KeyError):
    """No job has this id. `args[0]` is the id."""


class Place(NamedTuple):
    """Where a job stands among others, of which the one with the largest place is the newest."""

    moment: int
    """In microseconds since 1970."""
    job_id: str


@dataclass(frozen=True, slots=True)
class LoggedJob:
    """A job with what happened to it, at one moment."""

    stored: JobRecord
    """As the store has it."""
    job: JobRecord
    log: list[LoggedEvent]
    """What lies between its acceptance and its end, which its record tells; where Redis was lost, the rest of that."""


class JobReader:
    """Looks jobs up, and changes nothing. Errors of Redis and `StoreUnavailable` pass through unchanged."""

    def __init__(self, store: Store, redis: redis.Redis) -> None:
        self._store = store
        self._redis = redis

    def get(self, job_id: str) -> JobRecord:
        """The job as it is now. Raises `JobMissing`.

        `progress.rate` and `eta_s` are worked out here, over the time since the phase began or was gone on with.
        """
        return self._read(job_id)[1]

    def history(self, job_id: str, known: JobRecord | None = None) -> LoggedJob:
        """The job as it is now, with what happened to it. Raises `JobMissing`.

        `known`: what the store had before. It spares a look there, unless Redis has it that the store knows better. A
        job that has ended needs no Redis.
        """
        try:
            stored, job, live = self._read(job_id, known, with_ended=True)
        except redis.RedisError:
            stored = self._stored(job_id)
            if not stored.state.is_terminal:
                raise
            job, live = stored, NOT_IN_REDIS
        log = live.log
        if job.state is JobState.CANCELLING and all(event.type is not EventType.CANCELLING for event in log):
            log.append(LoggedEvent(self._cancelled_at(job_id), EventType.CANCELLING, {}))
        return LoggedJob(stored, job, log)

    def last_events(self, job_ids: Sequence[str]) -> "list[int | None]":
        """The id of the last event of each of these jobs, None where Redis knows none: who looks for changes in many
        jobs sees them so."""
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.hget(live_key(job_id), "last_event")
        return [None if last is None else int(last) for last in pipeline.execute()]

    def list(self, prefix: str = "") -> Iterator[JobRecord]:
        """Every job whose id starts with `prefix`, in the order of their ids."""
        for row in self._store.list(f"jobs/{prefix}"):
            folder, _, file = row.key.removeprefix("jobs/").partition("/")
            if file == "job.json":
                with suppress(JobMissing):
                    yield self.get(folder)

    def recent(self) -> Iterator[JobRecord]:
        """Every job, those accepted, cancelled or ended last first. Reads one record for each that is taken."""
        for place in self.places():
            with suppress(JobMissing):
                yield self.get(place.job_id)

    def places(self) -> Sequence[Place]:
        """The place of every job by when it was accepted, cancelled or ended, the newest first. Reads no record."""
        rows = (row for row in self._store.list("jobs/") if row.key.endswith("/job.json"))
        return sorted((Place(event_id(row.modified), row.key.split("/")[1]) for row in rows), reverse=True)

    def unfinished(self, prefix: str = "") -> Iterator[JobRecord]:
        """Every job that has not ended, of those whose ids start with `prefix`, in the order of their ids.

        Reads the records of the jobs that Redis counts as unfinished; where Redis was lost and `recover` has not run
        since, those of all jobs ever accepted.
        """
        if not self._redis.exists(scripts.COMPLETE):
            yield from self.unfinished_in_store(prefix)
            return
        for job_id in sorted(self.counted()):
            if job_id.startswith(prefix):
                with suppress(JobMissing):
                    job = self.get(job_id)
                    if not job.state.is_terminal:
                        yield job

    def unfinished_in_store(self, prefix: str = "") -> Iterator[JobRecord]:
        """The same by the store's word alone, which takes reading the record of every job ever accepted."""
        return (job for job in self.list(prefix) if not job.state.is_terminal)

    def counted(self) -> set[str]:
        """Ids of the jobs that count as unfinished in Redis. Some may have ended, or be gone, by the store's word."""
        return {job_id.decode() for job_id in cast(set[bytes], self._redis.smembers(scripts.UNFINISHED))}

    def counts(self) -> dict[JobState, int]:
        """How many unfinished jobs are in each state, and how many ended in each since Redis was last wiped.

        It is Redis's word: see `counted`.
        """
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.smembers(scripts.UNFINISHED)
        pipeline.hgetall(scripts.ENDED)
        ids, ended = pipeline.execute()
        counts = {state: int(ended.get(state.encode(), 0)) for state in JobState}
        for job_id in ids:
            pipeline.hget(live_key(job_id.decode()), "state")
        for state in pipeline.execute():
            counts[JobState(state.decode()) if state else JobState.QUEUED] += 1
        return counts

    def _read(
        self, job_id: str, known: JobRecord | None = None, with_ended: bool = False
    ) -> tuple[JobRecord, JobRecord, LiveJob]:
        """The job as the store has it, as it is, and as Redis has it; the last one of a job that has ended only
        `with_ended`."""
        stored = known or self._stored(job_id)
        if stored.state.is_terminal and not with_ended:
            return stored, stored, NOT_IN_REDIS
        live = LiveJob.read(self._redis, job_id)
        # What the store learns first, it may have learnt after it was read.
        if live.state not in (JobState.QUEUED, JobState.RUNNING, stored.state) and not stored.state.is_terminal:
            stored = self._stored(job_id)
        return stored, stored if stored.state.is_terminal else live.with_record(stored), live

    def _cancelled_at(self, job_id: str) -> int:
        """An id for the event of a cancellation that only the store knows of, which was told at the time."""
        rows = (row.modified for row in self._store.list(JobRecord.key(job_id)))
        return event_id(next(rows, None) or now())

    def _stored(self, job_id: str) -> JobRecord:
        try:
            return JobRecord.model_validate_json(self._store.read(JobRecord.key(job_id)))
        except (ObjectMissing, ValueError) as error:
            raise JobMissing(job_id) from error
