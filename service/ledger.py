"""The home of job records: how jobs are accepted, go on and end."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, cast

import redis

from service import ledger_scripts as scripts
from service.job_reader import JobMissing, JobReader
from service.live_job import draws_key, events_key, finished_key, job_keys, live_key, notes_key, shards_key
from service.locks import brief_lock, lock_if_free
from service.records import JobError, JobRecord, JobState, Phase, event_id, now
from service.stores.protocol import Store, StoreUnavailable


class JobFinished(Exception):
    """The job has already ended. `args[0]` is its id."""


class JobUnfinished(Exception):
    """The job has not succeeded, or not yet. `args[0]` is its id."""


class Ledger(JobReader):
    """Every job ever accepted, and how far it is.

    `jobs/{id}/job.json` is written when a job is accepted, when its user cancels it, when it ends, and when its dataset
    is packed once more. In between, the hash `labelmint:job:{id}` holds what is newer; losing it loses progress
    figures, never a job nor a cancellation. A terminal state is written to the store first, and the first one wins:
    transitions take the job's lock, so two processes cannot both end a job.

    What happens in between is logged in Redis, by the same step that changes the hash. Acceptance and end are not: the
    record tells of them, wherever it is read.

    Errors of Redis and `StoreUnavailable` pass through unchanged.
    """

    def __init__(self, store: Store, redis: redis.Redis, ttl_s: int) -> None:
        """`ttl_s`: how long Redis remembers a finished job, in seconds."""
        super().__init__(store, redis)
        self._ttl_s = ttl_s
        self._set_state = redis.register_script(scripts.SET_STATE)
        self._set_progress = redis.register_script(scripts.SET_PROGRESS)
        self._enter_phase = redis.register_script(scripts.ENTER_PHASE)
        self._note = redis.register_script(scripts.NOTE)
        self._interrupt = redis.register_script(scripts.INTERRUPT)
        self._finish_shard = redis.register_script(scripts.FINISH_SHARD)

    def accept(self, job: JobRecord) -> JobRecord:
        """Record a new job. If its id is known already, that job is returned unchanged.

        Redis counts it before the store has it, so that whoever dies in between leaves no job that nobody finds.
        Whatever is raised, no record of a new job is left: nobody is to take up what was refused.
        """
        is_written = False
        try:
            with self._lock(job.id):
                with suppress(JobMissing):
                    return self.get(job.id)
                self._tell_beginning(job)
                is_written = True  # or may be, whatever the store says
                self._write(job)
        except BaseException:
            if is_written:
                with suppress(StoreUnavailable, redis.RedisError):
                    self.forget(job.id)
            raise
        return job

    def forget(self, job_id: str) -> None:
        """Remove every trace of a job that was not accepted, or could not be queued then.

        What is left in Redis if that fails then counts as a job until `settle` removes it.
        """
        self._store.delete(JobRecord.key(job_id))
        self._drop(job_id)

    def count(self, job_id: str) -> None:
        """Have Redis count the job as unfinished, again where it was lost."""
        self._redis.sadd(scripts.UNFINISHED, job_id)

    def settle(self, job_id: str) -> None:
        """Let Redis know that a job has ended or is gone, where it failed just after the store had learnt so, or that
        there never was one.

        Nothing is done about any other job, nor while another process decides about this one.
        """
        with lock_if_free(self._redis, job_id) as ours:
            if not ours or not self._redis.sismember(scripts.UNFINISHED, job_id):
                return
            if not self._store.exists(JobRecord.key(job_id)):
                self._drop(job_id)
                return
            with suppress(JobMissing):  # another version wrote the record, and may have the job in hand
                state = self._stored(job_id).state
                if state.is_terminal:
                    self._tell_end(job_id, state)

    def start(self, job_id: str) -> bool:
        """A worker begins the job: queued → running. Returns whether it should: False if it has ended or is cancelling.

        Calling it again changes nothing: a retried worker keeps the first start.
        """
        with self._lock(job_id):
            job = self.get(job_id)
            if job.state.is_terminal or job.state is JobState.CANCELLING:
                return False
            pipeline = self._redis.pipeline()
            self._enter_state(job_id, JobState.RUNNING, pipeline)
            pipeline.hsetnx(live_key(job_id), "started", (job.started or now()).isoformat())
            pipeline.sadd(scripts.UNFINISHED, job_id)
            pipeline.execute()
            return True

    def fitted(self, job_id: str, fit_key: str) -> None:
        """Say which labeler the job uses."""
        self._redis.hset(live_key(job_id), "fit_key", fit_key)

    def plan(self, job_id: str, fit_key: str, shards: int, shard_size: int) -> None:
        """Say which labeler the job uses and into how many shards of how many samples it is cut."""
        self._redis.hset(
            live_key(job_id), mapping={"fit_key": fit_key, "shards": str(shards), "shard_size": str(shard_size)}
        )

    def enter_phase(self, job_id: str, phase: Phase, total: int) -> None:
        """The job is now in `phase`, of `total` units.

        Calling it again keeps the phase's start and progress. A late worker of an earlier phase cannot take a job back
        out of `generate` or `package`.
        """
        self._worked_on(job_id)
        keys = [live_key(job_id), events_key(job_id), shards_key(job_id), draws_key(job_id)]
        self._enter_phase(keys=keys, args=[phase, total])

    def advance(self, job_id: str, done: int) -> None:
        """`done` units of the current phase are behind us. For phases with one writer."""
        self._progressed(job_id, live_key(job_id), {"done": str(done)})

    def count_from_here(self, job_id: str) -> None:
        """What is done of the current phase was done before it was interrupted: its rate is that of what comes now.

        Raises `JobMissing`.
        """
        done = self.get(job_id).progress.done
        seconds, micros = self._redis.time()
        started = f"{seconds}.{micros:06d}"
        self._progressed(job_id, live_key(job_id), {"before": str(done), "phase_started": started})

    def tell(self, job_id: str, details: Mapping[str, float | str]) -> None:
        """Replace what the current phase has to tell beside its count; the next phase begins with nothing."""
        self._progressed(job_id, live_key(job_id), {"details": json.dumps(dict(details))})

    def advance_shard(self, job_id: str, shard: int, done: int) -> None:
        """`done` samples of this shard are made. A shard made twice counts once."""
        self._progressed(job_id, shards_key(job_id), {str(shard): str(done)})

    def tell_draws(self, job_id: str, shard: int, judged: int, settled: int) -> None:
        """For this shard, so many candidates were judged and so many samples settled. While samples are generated, a
        job's details have the share of the two over all shards as `acceptance`. A shard made twice counts once."""
        self._progressed(job_id, draws_key(job_id), {str(shard): f"{judged} {settled}"})

    def shard_finished(self, job_id: str, shard: int) -> bool:
        """Note that a shard lies in the store. Returns whether all of them now do.

        One of several workers that end at the same time is sure to get True. A repeated call gets the same answer, so
        that a retried last shard triggers packaging again. False while the job has no plan.
        """
        return bool(self._finish_shard(keys=[live_key(job_id), finished_key(job_id)], args=[shard]))

    def note(self, job_id: str, text: str) -> None:
        """Tell the user something about the result. The same text twice is one note."""
        keys = [live_key(job_id), events_key(job_id), notes_key(job_id)]
        self._note(keys=keys, args=[text, json.dumps({"note": text})])

    def interrupted(self, job_id: str, part: str, reason: str, pipeline: "redis.client.Pipeline | None" = None) -> None:
        """Log that a part of the job, named by its id in the queue, has to be begun again.

        `reason` is a stable word, as the `code` of an error. The same again replaces what was logged. It is one step
        with what else is in `pipeline`.
        """
        data = {"part": part.removeprefix(f"{job_id}-"), "reason": reason}
        self._interrupt(keys=[live_key(job_id), events_key(job_id)], args=[json.dumps(data)], client=pipeline)

    def succeed(self, job_id: str, outputs: dict[str, str]) -> None:
        """End the job well, with the key of each format's zip. Ignored if it has ended already."""
        self._end(job_id, JobState.SUCCEEDED, outputs=outputs)

    def add_outputs(self, job_id: str, outputs: dict[str, str]) -> JobRecord:
        """Give a job that has succeeded the keys of further zips. A format that it has already keeps its key
        and its place before the new ones: the first one is what a download gives when none is named.

        Returns the job as it is then. Raises `JobMissing`, and `JobUnfinished` unless it has succeeded.
        """
        with self._lock(job_id):
            job = self.get(job_id)
            if job.state is not JobState.SUCCEEDED:
                raise JobUnfinished(job_id)
            extended = job.model_copy(update={"outputs": job.outputs | outputs | job.outputs})
            if extended.outputs != job.outputs:
                self._write(extended)
            return extended

    def fail(self, job_id: str, error: JobError) -> None:
        """End the job badly. Ignored if it has ended already."""
        self._end(job_id, JobState.FAILED, error=error)

    def cancel(self, job_id: str) -> JobState:
        """Ask for the job's end: a queued job is cancelled at once, a running one is `cancelling` until a worker stops.

        Returns the new state. Raises `JobMissing`, and `JobFinished` if the job has ended in any way.
        """
        with self._lock(job_id):
            job = self.get(job_id)
            if job.state.is_terminal:
                raise JobFinished(job_id)
            if job.state is JobState.QUEUED:
                self._finish(job, JobState.CANCELLED)
                return JobState.CANCELLED
            stored = self._stored(job_id)
            if stored.state is not JobState.CANCELLING:
                self._write(stored.model_copy(update={"state": JobState.CANCELLING, "started": job.started}))
            self._enter_state(job_id, JobState.CANCELLING)
            return JobState.CANCELLING

    def is_cancelling(self, job_id: str) -> bool:
        """Whether a worker should put the job down: it is cancelling, or cancelled. One cheap call, made often."""
        return self._worked_on(job_id) in (JobState.CANCELLING, JobState.CANCELLED)

    def cancelled(self, job_id: str) -> None:
        """A worker has put the job down. Ignored if it has ended already."""
        self._end(job_id, JobState.CANCELLED)

    def _end(self, job_id: str, state: JobState, **changes: Any) -> None:
        with self._lock(job_id):
            job = self.get(job_id)
            if not job.state.is_terminal:
                self._finish(job, state, **changes)

    def _finish(self, job: JobRecord, state: JobState, **changes: Any) -> None:
        progress = job.progress.model_copy(update={"eta_s": None})
        ended = job.model_copy(update={"state": state, "finished": now(), "progress": progress, **changes})
        self._write(ended)
        self._tell_end(job.id, state)

    def _tell_beginning(self, job: JobRecord) -> None:
        """Let Redis know the job, and nothing of what it knew before under its id."""
        pipeline = self._redis.pipeline()
        pipeline.delete(*job_keys(job.id))
        pipeline.hset(live_key(job.id), "state", job.state)
        pipeline.hset(live_key(job.id), "last_event", str(event_id(job.created)))
        pipeline.sadd(scripts.UNFINISHED, job.id)
        pipeline.execute()

    def _tell_end(self, job_id: str, state: JobState) -> None:
        """Let Redis know that the job has ended."""
        pipeline = self._redis.pipeline()
        self._enter_state(job_id, state, pipeline)
        for key in job_keys(job_id):
            pipeline.expire(key, self._ttl_s)
        pipeline.srem(scripts.UNFINISHED, job_id)
        pipeline.hincrby(scripts.ENDED, state, 1)
        pipeline.execute()

    def _drop(self, job_id: str) -> None:
        """Have Redis forget the job."""
        pipeline = self._redis.pipeline()
        pipeline.delete(*job_keys(job_id))
        pipeline.srem(scripts.UNFINISHED, job_id)
        pipeline.execute()

    def _worked_on(self, job_id: str) -> JobState | None:
        """The state of a job that a worker has in hand; None if nobody knows the job.

        If Redis was lost meanwhile, it is told again what the store knows: a cancellation outlasts it.
        """
        live = self._redis.hget(live_key(job_id), "state")
        if live is not None:
            return JobState(cast(bytes, live).decode())
        try:
            stored = self._stored(job_id).state
        except JobMissing:
            return None
        state = JobState.RUNNING if stored is JobState.QUEUED else stored
        if not state.is_terminal:
            self._set_state(keys=[live_key(job_id), events_key(job_id)], args=[state, "unless set"])
        return state

    def _enter_state(self, job_id: str, state: JobState, pipeline: "redis.client.Pipeline | None" = None) -> None:
        """Let Redis know the state and log it, in one step with what else is in `pipeline`."""
        self._set_state(keys=[live_key(job_id), events_key(job_id)], args=[state, ""], client=pipeline)

    def _progressed(self, job_id: str, key: str, fields: Mapping[str, str]) -> None:
        pairs = [word for pair in fields.items() for word in pair]
        self._set_progress(keys=[live_key(job_id), key], args=pairs)

    def _write(self, job: JobRecord) -> None:
        self._store.put(JobRecord.key(job.id), job.model_dump_json(indent=1).encode())

    def _lock(self, job_id: str) -> AbstractContextManager[None]:
        return brief_lock(self._redis, job_id)
