"""What Prometheus is told of the service as it is now: jobs, parts that wait, workers, and whether all else answers."""

import time
from collections.abc import Iterable
from concurrent.futures import Future
from itertools import islice
from typing import NamedTuple, TypeVar

import redis
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.job_reader import JobReader
from service.probe import Probe
from service.queue import JobQueue, Waiting
from service.records import JobState
from service.stores.protocol import Store, StoreUnavailable

PATIENCE_S = 5.0
"""Whatever has not answered by then is out. Prometheus itself waits for 10 s, unless told otherwise."""

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class _OfRedis(NamedTuple):
    """All that Redis knows, at one moment."""

    jobs: dict[JobState, int]
    workers: int
    waiting: Waiting


class Gauges(Collector):
    """The figures at the moment of a scrape. What Redis cannot be asked for is left out."""

    def __init__(self, store: Store, ledger: JobReader, queue: JobQueue) -> None:
        self._redis = Probe(lambda: _OfRedis(ledger.counts(), queue.workers(), queue.waiting()))
        self._store = Probe(lambda: answer_of(store))

    def describe(self) -> Iterable[Metric]:
        """Nothing: at registration nobody is to be asked for anything."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The figures, within `PATIENCE_S`."""
        answers, end = (self._redis.ask(), self._store.ask()), time.monotonic() + PATIENCE_S
        found, store = _answered("redis", answers[0], end), _answered("store", answers[1], end)
        yield _gauge("redis_up", "Whether Redis answers", found is not None)
        yield _gauge("store_up", "Whether the object store answers", store is not None)
        if found is None:
            return
        jobs = GaugeMetricFamily(
            "labelmint_jobs", "Unfinished jobs, and those that ended since Redis was wiped, by state", labels=["state"]
        )
        for state, count in found.jobs.items():
            jobs.add_metric([state], count)
        yield jobs
        yield _gauge(
            "workers", "Workers that listen for work or do some, and gave a sign of life lately", found.workers
        )
        yield _gauge("parts_waiting", "Parts of jobs that wait for a worker", found.waiting.parts)
        if found.waiting.oldest_s is not None:
            described = "How long the part has waited that is next; 0 while none waits"
            yield _gauge("oldest_part_waiting_seconds", described, found.waiting.oldest_s)


def answer_of(store: Store) -> bool:
    """True. Raises `StoreUnavailable` unless the store answers."""
    for _ in islice(store.list("generators/"), 1):
        pass
    return True


def _gauge(name: str, described: str, value: float) -> Metric:
    return GaugeMetricFamily(f"labelmint_{name}", described, value=value)


def _answered(asked: str, answer: "Future[T]", end: float) -> T | None:
    """None if there is no answer by `end`, of the monotonic clock."""
    try:
        return answer.result(max(0.0, end - time.monotonic()))
    except (redis.RedisError, StoreUnavailable) as error:
        reason = str(error)
    except TimeoutError:
        reason = f"no answer within {PATIENCE_S:.0f} s"
    _log.error(f"{asked} unavailable", reason=reason)
    return None
