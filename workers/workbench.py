"""What every job body works with, and the one place where its end is decided: done, cancelled, retried or failed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import redis
import structlog
from rq import get_current_job

from service.generators import find_generator
from service.job_reader import JobMissing
from service.ledger import Ledger
from service.projects import find_project
from service.queue import JobQueue
from service.records import GeneratorRecord, JobRecord, Phase, ProjectRecord
from service.redis_client import connect
from service.settings import Settings, get_settings
from service.stores import open_store
from service.stores.protocol import Store
from workers.local_generators import generator_cache
from workers.outages import OUTAGES, is_tried_again, outlasting_outages
from workers.public_errors import JobFailure, public_error
from workers.throttle import Throttle

log = structlog.get_logger(__name__)

PROGRESS_INTERVAL_S = 0.3
"""Least time between two progress reports of one process; the last of a phase is always sent."""


class Cancelled(Exception):
    """The user cancelled the job; raised where a job body looks."""


@dataclass(frozen=True)
class Workbench:
    """The parts of the service that a job body needs, and the job it is about."""

    job_id: str
    settings: Settings
    store: Store
    redis: redis.Redis
    ledger: Ledger
    queue: JobQueue

    @property
    def generator_cache(self) -> Path:
        """Where this machine keeps copies of generators."""
        return generator_cache(self.settings)

    @cached_property
    def job(self) -> JobRecord:
        """The job as it was when first asked for; its request never changes."""
        return self.ledger.get(self.job_id)

    @cached_property
    def project(self) -> ProjectRecord:
        """The job's project. Raises `JobFailure` if it was deleted meanwhile."""
        project_id = self.job.project_id or ""
        project = find_project(self.store, project_id)
        if project is None:
            raise JobFailure("project-missing", f"Project {project_id} was deleted before its job could end.")
        return project

    @cached_property
    def generator(self) -> GeneratorRecord:
        """The generator of the job or of its project. Raises `JobFailure` if it is not in the store."""
        generator_id = self.job.generator_id or self.project.generator
        generator = find_generator(self.store, generator_id)
        if generator is None:
            raise JobFailure("generator-missing", f"Generator {generator_id} is not in the store.")
        return generator

    def stop_if_cancelled(self) -> None:
        """Raise `Cancelled` if the user asked for it."""
        if self.ledger.is_cancelling(self.job_id):
            raise Cancelled

    def progress(self, report: Callable[[int], None], total: int) -> Callable[[int], None]:
        """A function that passes the units done to `report`, seldom enough, and looks for a cancellation then."""
        throttle = Throttle(PROGRESS_INTERVAL_S)

        def advance(done: int) -> None:
            if throttle.due() or done >= total:
                self.stop_if_cancelled()
                report(done)

        return advance

    def phase(self, phase: Phase, total: int) -> Callable[[int], None]:
        """Enter `phase` of `total` units and get the function that reports how many are done."""
        self.ledger.enter_phase(self.job_id, phase, total)
        return self.progress(lambda done: self.ledger.advance(self.job_id, done), total)


@contextmanager
def workbench(job_id: str, settings: Settings | None = None) -> Iterator[Workbench]:
    """Open store, Redis, ledger and queue for one job, and close the connections afterwards."""
    settings = settings or get_settings()
    if settings.redis_url is None:
        raise RuntimeError("a worker needs LABELMINT_REDIS_URL")
    connection = connect(settings.redis_url)
    try:
        store = open_store(settings.store_url, settings.s3_endpoint_url)
        ledger = Ledger(store, connection, settings.job_ttl_s)
        yield Workbench(job_id, settings, store, connection, ledger, JobQueue(connection, settings))
    finally:
        connection.close()


def run_body(job_id: str, body: Callable[[Workbench], None], rescue: Callable[[Workbench], None] | None = None) -> None:
    """Run one job body to its end and record the end if it is one.

    RQ hears only of failures that it should retry: it sees every other end as success, since our own record is the
    job's state. A job that is over already (cancelled, or failed by another shard) is left alone.

    `rescue` keeps what was reached. It is called before a cancellation or a failure for good is recorded, wherever it
    came up. Without the store or Redis the whole part is retried after a while, and `rescue` is called again.
    """
    with structlog.contextvars.bound_contextvars(job=job_id), outlasting_outages(), workbench(job_id) as bench:
        if _is_over(bench.ledger, job_id):
            return
        try:
            bench.stop_if_cancelled()
            body(bench)
        except Cancelled:
            log.info("cancelled")
            _rescue(bench, rescue)
            bench.ledger.cancelled(job_id)
        except Exception as failure:  # the boundary: whatever it is, the user gets an answer
            error = public_error(failure)
            log.exception("job body failed", code=error.code)
            if error.retry and is_tried_again(failure):
                _tell_of_retry(bench, error.code)
                raise
            _rescue(bench, rescue)
            bench.ledger.fail(job_id, error)  # a job that has ended already, say with a result, stays as it ended


def _rescue(bench: Workbench, rescue: Callable[[Workbench], None] | None) -> None:
    try:
        if rescue is not None:
            rescue(bench)
    except Exception as failure:  # the job's own end is what the user asked about
        if isinstance(failure, OUTAGES) and is_tried_again(failure):
            raise
        log.exception("what was reached could not be kept")


def _tell_of_retry(bench: Workbench, reason: str) -> None:
    part = get_current_job()
    with suppress(redis.RedisError):  # it may be the reason
        if part is not None:
            bench.ledger.interrupted(bench.job_id, part.id, reason)


def _is_over(ledger: Ledger, job_id: str) -> bool:
    try:
        return ledger.get(job_id).state.is_terminal
    except JobMissing:
        return True
