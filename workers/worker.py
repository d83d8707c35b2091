"""The worker process: takes parts of jobs from the queue and runs each in a child of its own."""

import os

import redis
import structlog
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import Worker

from service.ledger import Ledger
from service.queue import QUEUE_NAME
from service.settings import Settings
from service.stores import open_store
from service.stores.protocol import StoreUnavailable
from workers.leftovers import drop_leftovers
from workers.lifeline import die_with_parent
from workers.sweep import Sweeper, place

log = structlog.get_logger(__name__)

_BEAT_S = 5
"""Between two signs of life, and between two sweeps of an idle worker."""

_LIFE_S = 20
"""A worker that gave no sign of life for this long counts as dead, wherever it runs."""

_RQ_MARGIN_S = 15
"""RQ waits for work for its worker TTL less this."""


class ForkingWorker(Worker):
    """RQ's forking worker, quicker to notice the dead: its own trace expires after `_LIFE_S`, and it sweeps often.

    A child dies with its worker: nobody is left to watch over its time limit or to learn of its end.
    """

    log_result_lifespan = False

    def __init__(self, connection: redis.Redis, ledger: Ledger) -> None:
        """`connection` must reply in bytes; RQ lengthens its socket timeout to outlast the wait for work."""
        super().__init__(
            [QUEUE_NAME],
            connection=connection,
            serializer=JSONSerializer,
            worker_ttl=_BEAT_S + _RQ_MARGIN_S,
            job_monitoring_interval=_BEAT_S,
            maintenance_interval=_BEAT_S - 1,
            work_horse_killed_handler=self._on_child_killed,
        )
        self._sweeper = Sweeper(connection, ledger)

    def heartbeat(
        self,
        timeout: int | None = None,  # noqa: ARG002 (RQ's signature)
        pipeline: "redis.client.Pipeline | None" = None,
    ) -> None:
        """Give a sign of life that counts for `_LIFE_S`, whatever RQ would make it."""
        super().heartbeat(_LIFE_S, pipeline)

    def serialize(self) -> dict[str, object]:
        """What this worker says about itself in Redis."""
        return {**super().serialize(), "place": place()}

    def clean_registries(self) -> None:
        """RQ's hook for regular maintenance."""
        try:
            self._sweeper.sweep()
        except StoreUnavailable:
            log.warning("the store cannot be reached; sweeping again later")
        self.last_cleaned_at = now()  # type: ignore[assignment]  # rq initialises it with None, unannotated

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Start the child that runs `job`."""
        self._own_pid = os.getpid()
        super().fork_work_horse(job, queue)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """The child's life."""
        die_with_parent(self._own_pid)
        super().main_work_horse(job, queue)

    def _on_child_killed(self, job: Job, *_: object) -> None:
        if job.should_retry:
            return
        try:
            self._sweeper.settle(job)
        except StoreUnavailable:
            log.warning("the store cannot be reached: a failure is recorded later", part=job.id)


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

    store = open_store(settings.store_url, settings.s3_endpoint_url)
    drop_leftovers(store, settings)
    ForkingWorker(connection, Ledger(store, connection, settings.job_ttl_s)).work(logging_level="INFO")
