"""Puts work whose worker has died back into the queue, and ends jobs whose work cannot be done.

RQ does the like, after minutes: it waits for a registry entry to expire, and looks for that every ten minutes.
"""

import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis
import structlog
from rq import Queue, worker_registration
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, StartedJobRegistry, clean_registries
from rq.serializers import JSONSerializer
from rq.utils import as_text
from rq.worker import Worker

from service.job_reader import JobMissing
from service.ledger import Ledger
from service.locks import LockBusy, lock_if_free
from service.queue import QUEUE_NAME, SAMPLES, JobQueue
from service.stores.protocol import StoreUnavailable
from workers.lifeline import is_running
from workers.outages import last_outage
from workers.public_errors import WORKER_LOST, WORKER_STOPPED
from workers.recover import recover, take_up

log = structlog.get_logger(__name__)

LIFE_S = 20
"""A worker that gave no sign of life for this long counts as dead, wherever it runs."""

_COUNTED_EVERY_S = 60.0
"""Between two looks for jobs that have no part in the queue: each such look may have to ask the store."""

_TAKEN_GRACE_S = 5.0
"""A part may be taken from the queue and not yet noted as started for a moment, never for this long."""


def place() -> str:
    """Names what process ids are unique in: this host, its boot and this process's pid namespace."""
    if sys.platform != "linux":
        return socket.gethostname()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"


@dataclass
class Sweeper:
    """What one worker does now and then for the good of all. One sweep runs at a time, whoever runs it."""

    connection: redis.Redis
    ledger: Ledger
    queue: JobQueue
    _blank_since: float | None = None
    _counted_at: float | None = None
    _idle: frozenset[str] = frozenset()
    """Jobs that had no part in the queue when last looked for."""
    _taken_since: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._queue = Queue(QUEUE_NAME, connection=self.connection, serializer=JSONSerializer)
        self._started = StartedJobRegistry(queue=self._queue)
        self._failed = FailedJobRegistry(queue=self._queue)

    def sweep(self) -> None:
        """Requeue the parts of dead workers, fail the jobs whose parts have no retries left, and drop stale entries,
        those of jobs that have ended included.

        Take up again the unfinished jobs of which the queue has nothing; where Redis has lost everything, all of them.
        """
        with lock_if_free(self.connection, "sweep") as ours:
            if not ours:
                return
            self._requeue_parts_of_dead_workers()
            self._requeue_parts_lost_on_the_way()
            self._settle_failed_parts()
            clean_registries(self._queue)
            worker_registration.clean_worker_registry(self._queue)
            self._recover_from_loss()
            self._settle_idle_jobs()

    def settle(self, part: Job) -> None:
        """Fail the job that `part` belongs to, because the part failed for good without a word from its body."""
        if part.func_name == SAMPLES:
            return
        try:
            self.ledger.fail(part.args[0], last_outage(part) or WORKER_LOST)
        except JobMissing:
            return

    def _recover_from_loss(self) -> None:
        """Only after all living workers had time to say what they are at: nothing is to run twice."""
        if not self.queue.is_blank():
            self._blank_since = None
            return
        self._idle = frozenset()  # they are among those to recover
        moment = time.monotonic()
        self._blank_since = self._blank_since if self._blank_since is not None else moment
        if moment - self._blank_since >= LIFE_S:
            log.warning("Redis had lost everything", jobs=recover(self.ledger, self.queue))

    def _settle_idle_jobs(self) -> None:
        """Jobs with a part in the queue are at work. The store is asked about the others alone, seldom any.

        Such a job may have ended without Redis knowing. Or whoever accepted it may be about to enqueue it; if it is
        idle the next time as well, nobody is, and it is taken up.
        """
        moment = time.monotonic()
        if self._counted_at is not None and moment - self._counted_at < _COUNTED_EVERY_S:
            return
        self._counted_at = moment
        idle = frozenset(self.queue.idle(self.ledger.counted()))
        for job_id in idle:
            self.ledger.settle(job_id)
        for job_id in idle & self._idle:
            self._take_up(job_id)
        self._idle = idle

    def _take_up(self, job_id: str) -> None:
        """Nothing is done about a job that is to fail as soon as that can be recorded."""
        if any(part.startswith(f"{job_id}-") for part in self._failed.get_job_ids(cleanup=False)):
            return
        with suppress(JobMissing):
            job = self.ledger.get(job_id)
            if not job.state.is_terminal:
                log.warning("a job had no part in the queue", job=job_id)
                take_up(job, self.ledger, self.queue)

    def _requeue_parts_of_dead_workers(self) -> None:
        for job_id, execution_id in self._started.get_job_and_execution_ids(cleanup=False):
            with self.connection.pipeline() as pipeline:
                # A part that ends changes as its entry and its execution go. Either is noticed from here on.
                pipeline.watch(Job.key_for(job_id))  # type: ignore[no-untyped-call]
                worker = self._worker_of(job_id, execution_id)
                if worker is not None and not worker.is_dead:
                    continue
                execution = Execution(execution_id, job_id, self.connection)
                if self.connection.zscore(self._started.key, execution.composite_key) is None:
                    continue
                part = self._fetch(job_id)
                stopped = worker is not None and worker.left_in_order
                pipeline.multi()
                if part is None:
                    pipeline.zrem(self._started.key, execution.composite_key)
                else:
                    execution.delete(part, pipeline)
                    if stopped:
                        part.retries_left = (part.retries_left or 0) + 1  # to be stopped is not to fail
                    self._retry_or_fail(part, pipeline, WORKER_STOPPED if stopped else WORKER_LOST.code)
                with suppress(redis.WatchError):  # the next sweep sees what has become of it
                    pipeline.execute()
                    log.warning("worker lost", part=job_id)

    def _requeue_parts_lost_on_the_way(self) -> None:
        """A worker takes a part from the queue to the intermediate list, and may die before it notes it as started."""
        started = {job_id for job_id, _ in self._started.get_job_and_execution_ids(cleanup=False)}
        taken = [job_id for job_id in self._queue.intermediate_queue.get_job_ids() if job_id not in started]
        moment = time.monotonic()
        self._taken_since = {job_id: self._taken_since.get(job_id, moment) for job_id in taken}
        for job_id, since in self._taken_since.items():
            if moment - since < _TAKEN_GRACE_S:
                continue
            part = self._fetch(job_id)
            with self.connection.pipeline() as pipeline:
                if part is None:
                    pipeline.lrem(self._queue.intermediate_queue_key, 1, job_id)
                else:
                    self._retry_or_fail(part, pipeline, WORKER_LOST.code)
                pipeline.execute()

    def tell_of_retry(self, part: Job, reason: str, pipeline: "redis.client.Pipeline | None" = None) -> None:
        """Let those who follow the job know that `part` is done again, and why, in one step with `pipeline`."""
        if part.func_name != SAMPLES:
            self.ledger.interrupted(part.args[0], part.id, reason, pipeline)

    def _retry_or_fail(self, part: Job, pipeline: "redis.client.Pipeline", reason: str) -> None:
        pipeline.lrem(self._queue.intermediate_queue_key, 1, part.id)
        if part.should_retry:
            part.retry(self._queue, pipeline)
            self.tell_of_retry(part, reason, pipeline)
        else:
            part.set_status(JobStatus.FAILED, pipeline=pipeline)
            self._failed.add(part, ttl=part.failure_ttl, exc_string="the worker died", pipeline=pipeline)

    def _settle_failed_parts(self) -> None:
        for job_id in self._failed.get_job_ids(cleanup=False):
            part = self._fetch(job_id)
            try:
                if part is not None:
                    self.settle(part)
                    part.delete()
                else:
                    self.connection.zrem(self._failed.key, job_id)
            except (StoreUnavailable, LockBusy) as outage:
                log.warning("a failure is recorded later", part=job_id, reason=str(outage))

    def _fetch(self, job_id: str) -> Job | None:
        try:
            return Job.fetch(job_id, connection=self.connection, serializer=JSONSerializer)
        except NoSuchJobError:
            return None

    def _worker_of(self, job_id: str, execution_id: str) -> "_WorkerTrace | None":
        try:
            name = Execution.fetch(execution_id, job_id, self.connection).worker_name
        except ValueError:  # its record has expired, as it does when no worker renews it
            return None
        fields = self.connection.hgetall(Worker.redis_worker_namespace_prefix + name)
        return _WorkerTrace({as_text(key): as_text(value) for key, value in fields.items()}) if fields else None


@dataclass(frozen=True)
class _WorkerTrace:
    """What a worker keeps in Redis about itself; it expires soon after the last sign of life."""

    fields: dict[str, str]

    @property
    def left_in_order(self) -> bool:
        return "death" in self.fields

    @property
    def is_dead(self) -> bool:
        here = self.fields.get("place") == place() and "pid" in self.fields
        return self.left_in_order or (here and not is_running(int(self.fields["pid"])))
