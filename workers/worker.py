"""The worker process: takes parts of jobs from the queue and runs each in a child of its own."""

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any

import redis
import structlog
from rq import worker_registration
from rq.exceptions import StopRequested
from rq.executions import ExecutionRegistry
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.timeouts import HorseMonitorTimeoutException
from rq.utils import now
from rq.worker import Worker

from service.job_reader import JobMissing
from service.ledger import Ledger
from service.locks import LockBusy
from service.queue import QUEUE_NAME, SAMPLES, JobQueue
from service.settings import Settings
from service.stores import open_store
from service.stores.protocol import StoreUnavailable
from workers.leftovers import drop_half_written
from workers.lifeline import die_with_parent, is_running
from workers.public_errors import WORKER_LOST
from workers.sweep import LIFE_S, Sweeper, place
from workers.training_starts import Starts, run_folder

log = structlog.get_logger(__name__)

_BEAT_S = 5
"""Between two signs of life, and between two sweeps of an idle worker."""

_RQ_MARGIN_S = 15
"""RQ waits for work for its worker TTL less this."""

_AGAIN_AFTER_S = 1.0
"""Between two looks for a Redis that is out."""

_UNREACHABLE = (redis.ConnectionError, redis.TimeoutError)

_NOT_NOW = (StoreUnavailable, LockBusy)
"""What keeps a worker from setting others' work right. It must not quit for that: the next sweep tries again."""


class ForkingWorker(Worker):
    """RQ's forking worker, quicker to notice the dead: its own trace expires after `LIFE_S`, and it sweeps often.

    A child dies with its worker: nobody is left to watch over its time limit or to learn of its end. But neither dies
    for want of Redis: a worker goes on watching without, and says again who it is and what it does to a Redis that has
    forgotten it. If another worker has the part by then, it abandons its own child and quits.

    Told to stop, it lets the part end, but for no longer than the settings allow, or until it is told again.
    """

    log_result_lifespan = False

    def __init__(
        self, connection: redis.Redis, ledger: Ledger, settings: Settings, compiled: dict[str, str] | None = None
    ) -> None:
        """`connection` must reply in bytes; RQ lengthens its socket timeout to outlast the wait for work.
        `compiled`: which compiled code there is, for the log."""
        super().__init__(
            [QUEUE_NAME],
            connection=connection,
            serializer=JSONSerializer,
            worker_ttl=_BEAT_S + _RQ_MARGIN_S,
            job_monitoring_interval=_BEAT_S,
            maintenance_interval=_BEAT_S - 1,
            work_horse_killed_handler=self._on_child_killed,
        )
        self._ledger, self._settings = ledger, settings
        self._sweeper = Sweeper(connection, ledger, JobQueue(connection, settings))
        self._part: Job | None = None
        self._compiled = compiled or {}

    def register_birth(self) -> None:
        """Say in Redis, and in the log, that there is this worker."""
        super().register_birth()  # type: ignore[no-untyped-call]
        facts = {"worker": self.name, "pid": os.getpid(), "queue": QUEUE_NAME}
        log.info("worker started", **facts, **self._compiled)

    def register_death(self) -> None:
        """Say in Redis, and in the log, that this worker is gone."""
        super().register_death()  # type: ignore[no-untyped-call]
        log.info("worker stopped", worker=self.name)

    def heartbeat(
        self,
        timeout: int | None = None,  # noqa: ARG002 (RQ's signature)
        pipeline: "redis.client.Pipeline | None" = None,
    ) -> None:
        """Give a sign of life that counts for `LIFE_S`, whatever RQ would make it."""
        super().heartbeat(LIFE_S, pipeline)

    def maintain_heartbeats(self, job: Job) -> None:
        """Give the signs of life of the worker and of the part it runs. Raises `StopRequested` if that is another's."""
        if self._is_forgotten():
            self._reclaim(job)
        super().maintain_heartbeats(job)

    def serialize(self) -> dict[str, object]:
        """What this worker says about itself in Redis."""
        return {**super().serialize(), "place": place()}

    def clean_registries(self) -> None:
        """RQ's hook for regular maintenance."""
        try:
            if self._is_forgotten():
                with self.connection.pipeline() as pipeline:
                    self._introduce(pipeline)
                    pipeline.execute()
            self._sweeper.sweep()
        except _NOT_NOW as outage:
            log.warning("sweeping again later", reason=str(outage))
        self.last_cleaned_at = now()  # type: ignore[assignment]  # rq initialises it with None, unannotated

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Have a child run `job`, and wait for its end. All that either logs meanwhile names the part."""
        with structlog.contextvars.bound_contextvars(part=job.id):
            log.info("part begun", retries_left=job.retries_left)
            super().execute_job(job, queue)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Start the child that runs `job`."""
        self._own_pid, self._part = os.getpid(), job
        super().fork_work_horse(job, queue)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """The child's life."""
        die_with_parent(self._own_pid)
        super().main_work_horse(job, queue)

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """In the child, do the part's work. Returns whether it was done."""
        began = time.monotonic()
        done = bool(super().perform_job(job, queue))
        if done:
            log.info("part done", seconds=round(time.monotonic() - began, 3))
        return done

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """RQ's hook for what the part raised: log it as everything else is."""
        log.error("part failed", part=job.id, exc_info=exc_info)

    def monitor_work_horse(self, job: Job, queue: Queue) -> None:
        """Watch over the child until it has ended and Redis knows how. It may need no Redis itself for hours."""
        child = self.horse_pid
        while True:
            try:
                super().monitor_work_horse(job, queue)
                return
            except _UNREACHABLE as outage:
                if self._stop_requested and not is_running(child):
                    raise
                log.warning("Redis cannot be reached; looking again", part=job.id, reason=str(outage))
                self._horse_pid = child  # RQ forgets it once the child has ended
                time.sleep(_AGAIN_AFTER_S)

    def handle_warm_shutdown_request(self) -> None:
        """RQ's hook for the first signal: see to it that there is a second one in time."""
        log.info("told to stop", worker=self.name, grace_s=self._settings.stop_grace_s)
        again = (threading.main_thread().ident, signal.SIGTERM)
        timer = threading.Timer(self._settings.stop_grace_s, signal.pthread_kill, again)
        timer.daemon = True
        timer.start()

    def set_shutdown_requested_date(self) -> None:
        """Note in Redis that the worker is to stop; without Redis it stops all the same."""
        with suppress(*_UNREACHABLE):
            super().set_shutdown_requested_date()  # type: ignore[no-untyped-call]

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """The second signal: abandon the part and raise `SystemExit`. One within a second of the first is ignored."""
        child = self.horse_pid
        try:
            super().request_force_stop(signum, frame)
        except (SystemExit, HorseMonitorTimeoutException):  # RQ's own alarm may go off while it waits for the child
            if child and self._part is not None:
                # No part but a training has such a folder. To be stopped is not to fail.
                Starts(run_folder(self._settings.data_dir, str(self._part.args[0]))).forgive()
            raise SystemExit from None

    def _is_forgotten(self) -> bool:
        return not self.connection.hexists(self.key, "birth")

    def _introduce(self, pipeline: "redis.client.Pipeline") -> None:
        pipeline.hset(self.key, mapping=self.serialize())  # type: ignore[arg-type]  # any key and value will do
        pipeline.expire(self.key, LIFE_S)
        worker_registration.register(self, pipeline)

    def _reclaim(self, part: Job) -> None:
        """Tell a Redis that has forgotten this worker what it does, so that nobody else begins the same.

        Others may have given it up for dead instead, and have put the part back into the queue: then it is taken from
        there. Raises `StopRequested`, the child being killed, if another worker has begun it.
        """
        execution, started, waiting = self.execution, part.started_job_registry, self.queues[0].key
        assert execution is not None  # noqa: S101  # there is one as long as there is a child
        lifetime = int(self.get_heartbeat_ttl(part))
        with self.connection.pipeline() as pipeline:
            pipeline.watch(part.key)  # type: ignore[no-untyped-call]
            kept = pipeline.zscore(started.key, execution.composite_key) is not None
            if not kept and pipeline.exists(part.key) and pipeline.lpos(waiting, part.id) is None:
                log.warning("another worker has taken over; abandoning", part=part.id)
                self.kill_horse()
                self.wait_for_horse()
                raise StopRequested
            pipeline.multi()
            if not kept:
                pipeline.lrem(waiting, 0, part.id)
                part.save(pipeline)
                part.set_status(JobStatus.STARTED, pipeline)
                execution.save(lifetime, pipeline)
                ExecutionRegistry(part.id, self.connection).add(execution, lifetime, pipeline)
                started.add_execution(execution, pipeline, lifetime)
            self._introduce(pipeline)
            with suppress(redis.WatchError):  # the child may be just ending; if not, the next beat tries again
                pipeline.execute()
        if part.func_name != SAMPLES:
            with suppress(JobMissing, *_NOT_NOW):
                self._ledger.start(part.args[0])

    def _on_child_killed(self, job: Job, *_: object) -> None:
        if job.should_retry:
            self._sweeper.tell_of_retry(job, WORKER_LOST.code)
            return
        try:
            self._sweeper.settle(job)
        except _NOT_NOW as outage:
            log.warning("a failure is recorded later", part=job.id, reason=str(outage))


def work(settings: Settings, connection: redis.Redis) -> None:
    """Serve the queue until SIGINT or SIGTERM: the first lets the current part end, a second one abandons it.

    torch is loaded here, once, so that every child starts with it; but nothing is computed before the fork, because
    threads and CUDA contexts do not survive one.
    """
    import workers.fit
    import workers.generator_encode
    import workers.generator_import
    import workers.generator_samples
    import workers.generator_train
    import workers.package
    import workers.shard  # noqa: F401
    from models import fused_labeling
    from workers.formats import tracing

    store = open_store(settings.store_url, settings.s3_endpoint_url)
    drop_half_written(store, settings)
    ledger = Ledger(store, connection, settings.job_ttl_s)
    compiled = {"compiled_labeling": fused_labeling.availability(), "compiled_tracing": tracing.availability()}
    # What goes well the worker tells itself.
    ForkingWorker(connection, ledger, settings, compiled).work(logging_level="WARNING")
