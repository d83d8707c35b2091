"""The queue of work for the workers: RQ, with jobs named by dotted path so that nothing of theirs is imported."""

import time
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple, cast

import redis
from rq import Queue, Retry, worker_registration
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import utcparse

from service.ledger_scripts import COMPLETE
from service.records import JobRecord, samples_file
from service.settings import Settings, get_settings

QUEUE_NAME = "labelmint"
"""The one queue every worker listens on."""

RETRIES = 3

TRAIN_RETRIES = 1000
"""A training may take two weeks, in which many a worker is stopped or lost. Its body counts for itself how often it
began without getting any further, and gives up then."""

SAMPLES = "workers.generator_samples.run"
"""The one part that belongs to no job: its first argument is a generator's id."""

TIME_LIMITS = {
    "workers.fit.run": "fit_timeout_s",
    "workers.shard.run": "shard_timeout_s",
    "workers.package.run": "package_timeout_s",
    "workers.generator_import.run": "import_timeout_s",
    "workers.generator_train.run": "train_timeout_s",
    "workers.generator_encode.run": "encode_timeout_s",
    SAMPLES: "shard_timeout_s",
}
"""The body of each kind of part → the setting that says how long it may take, in seconds."""


class Waiting(NamedTuple):
    """parts: that wait for a worker. oldest_s: for how long the next of them has since it was enqueued, last if it was
    retried; 0 where none waits, None where its entry is gone."""

    parts: int
    oldest_s: float | None


class JobQueue:
    """Enqueues a job's parts: one fit, its shards, one packaging; or the one part of a job that has no more.

    Each part has an id made from the job's, so that enqueueing it twice is enqueueing it once: a part that is queued or
    running stays as it is; one that has finished, failed, or lost its worker is replaced. A part that fails is retried
    at once, `RETRIES` times, that of a training `TRAIN_RETRIES` times. Errors of Redis pass through.
    """

    def __init__(self, redis: redis.Redis, settings: Settings | None = None) -> None:
        """`redis` must reply in bytes. `settings` gives the time limits."""
        self._redis = redis
        self._settings = settings or get_settings()
        self._queue = Queue(QUEUE_NAME, connection=redis, serializer=JSONSerializer)

    def enqueue_job(self, job: JobRecord) -> str:
        """Have the first part of a job run, whichever its task has. Returns the part's id."""
        match job.request.task:
            case "generate" | "fit":
                return self.enqueue_fit(job.id)
            case "package":
                return self.enqueue_package(job.id)
            case "import":
                return self._enqueue_generator_part(job.id, "import")
            case "train":
                return self._enqueue_generator_part(job.id, "train", TRAIN_RETRIES)
            case "encode":
                return self._enqueue_generator_part(job.id, "encode")

    def _enqueue_generator_part(self, job_id: str, task: str, retries: int = RETRIES) -> str:
        """`workers.generator_{task}.run(job_id)`."""
        return self._enqueue(f"{job_id}-{task}", f"workers.generator_{task}.run", (job_id,), retries)

    def enqueue_fit(self, job_id: str) -> str:
        """Have `workers.fit.run(job_id)` called. Returns the part's id."""
        return self._enqueue(f"{job_id}-fit", "workers.fit.run", (job_id,))

    def enqueue_shard(self, job_id: str, shard: int) -> str:
        """Have `workers.shard.run(job_id, shard)` called. Returns the part's id."""
        return self._enqueue(f"{job_id}-shard-{shard:05d}", "workers.shard.run", (job_id, shard))

    def enqueue_package(self, job_id: str) -> str:
        """Have `workers.package.run(job_id)` called. Returns the part's id."""
        return self._enqueue(f"{job_id}-package", "workers.package.run", (job_id,))

    def workers(self) -> int:
        """How many living workers listen on the queue. One that died counts while its last sign of life does."""
        # Of one that was killed the name stays, until another one sweeps.
        names = worker_registration.get_keys(queue=self._queue)
        return self._redis.exists(*names) if names else 0

    def waiting(self) -> "Waiting":
        """How many parts wait for a worker, and for how long the oldest has."""
        pipeline = self._redis.pipeline()
        pipeline.llen(self._queue.key)
        pipeline.lindex(self._queue.key, 0)
        parts, next_part = pipeline.execute()
        if next_part is None:
            return Waiting(0, 0.0)
        since = self._redis.hget(Job.key_for(next_part.decode()), "enqueued_at")
        if since is None:
            return Waiting(parts, None)
        return Waiting(parts, max(0.0, time.time() - utcparse(cast(bytes, since).decode()).timestamp()))

    def is_at_work(self, job_id: str) -> bool:
        """Whether a worker has a part of the job in hand. One that died counts while its last sign of life does."""
        return any(part.startswith(f"{job_id}-") for part in self._parts_in_hand())

    def idle(self, job_ids: Iterable[str]) -> list[str]:
        """Those of these jobs of which no part waits, nor has a worker one in hand."""
        # In the order in which a part goes through them, so that one that moves meanwhile is seen.
        parts = self._queue.get_job_ids() + self._queue.intermediate_queue.get_job_ids() + self._parts_in_hand()
        parts.sort()

        def has_part(job_id: str) -> bool:
            beginning = f"{job_id}-"
            place = bisect_left(parts, beginning)
            return place < len(parts) and parts[place].startswith(beginning)

        return [job_id for job_id in job_ids if not has_part(job_id)]

    def enqueue_samples(self, generator_id: str, truncation: float) -> str:
        """Have `workers.generator_samples.run(generator_id, truncation)` called. Returns the part's id."""
        part = f"{generator_id}-{samples_file(truncation).removesuffix('.png').replace('.', '-')}"
        return self._enqueue(part, SAMPLES, (generator_id, truncation))

    def is_blank(self) -> bool:
        """Whether Redis has lost what was enqueued, and nobody has said since that it knows of all there is to do."""
        return not self._redis.exists(COMPLETE)

    def mark_complete(self) -> None:
        """Say that all there is to do has been enqueued, or was before."""
        self._redis.set(COMPLETE, 1)

    def ping(self) -> None:
        """Raises an error of Redis if it cannot be reached."""
        self._redis.ping()

    def _enqueue(self, part: str, function: str, args: tuple[str | float, ...], retries: int = RETRIES) -> str:
        for _ in range(10):
            try:
                self._queue.enqueue_call(
                    function,
                    args=args,
                    job_id=part,
                    timeout=getattr(self._settings, TIME_LIMITS[function]),
                    ttl=None,  # a part may wait for weeks behind a training
                    result_ttl=3600,
                    failure_ttl=self._settings.job_ttl_s,
                    retry=Retry(max=retries),
                    unique=True,
                )
                return part
            except DuplicateJobError:
                if not self._remove_dead(part):
                    return part
        raise redis.RedisError(f"{part} keeps appearing in the queue")

    def _remove_dead(self, part: str) -> bool:
        """Delete what RQ knows of a part unless it is alive. Returns whether it was deleted."""
        try:
            job = Job.fetch(part, connection=self._redis, serializer=JSONSerializer)
            if self._is_alive(job):
                return False
            job.delete()
        except NoSuchJobError:
            pass
        return True

    def _is_alive(self, job: Job) -> bool:
        status = job.get_status(refresh=False)
        if status is JobStatus.QUEUED:
            waiting = self._redis.lpos(self._queue.key, job.id) is not None
            # A worker moves a part to the intermediate list for the moment between taking it and starting it.
            return waiting or self._redis.lpos(self._queue.intermediate_queue_key, job.id) is not None
        if status is JobStatus.STARTED:
            return job.id in self._parts_in_hand()
        return status is JobStatus.SCHEDULED

    def _parts_in_hand(self) -> list[str]:
        registry = StartedJobRegistry(QUEUE_NAME, connection=self._redis, serializer=JSONSerializer)
        entries = cast(list[bytes], self._redis.zrangebyscore(registry.key, time.time(), "+inf"))
        return [registry.parse_job_id(entry.decode()) for entry in entries]
