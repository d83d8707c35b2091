"""How a job is cut into shards, decided once and kept in the store, so that a job goes on as it began."""

from collections.abc import Iterator

from pydantic import BaseModel

from service.records import dataset_key
from service.requests import GenerateRequest
from service.stores.protocol import ObjectMissing, Store

_SHARD_S = 120.0
"""How long a shard of a large job takes: what a killed worker costs at most."""

_LEAST_SHARD_S = 5.0
"""Below this, beginning a shard would cost more than another worker is worth."""

_GOOD_SHARD_S = 20.0
"""Below this, what beginning a shard costs would be felt."""

_LONE_SHARD_S = 60.0
"""One worker alone has nobody to share with, and does not cut its work finer."""

_SMALLEST_SHARD, _LARGEST_SHARD = 25, 100_000
"""Samples, whatever the rate."""

_SHARDS_A_WORKER = 4
"""At least, where they are not too short for that, so that the workers end at about the same time."""

_MOST_SHARDS = 20_000
"""Of a job: each is a part in Redis, and an object in the store that packaging opens."""


class Plan(BaseModel):
    """Which labeler a job uses and how its samples are cut. Settings that change later do not touch a job under way."""

    fit_key: str
    count: int
    shard_size: int

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.count // self.shard_size)

    def indices(self, shard: int) -> range:
        """The sample indices of one shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.count))

    def all_indices(self) -> Iterator[range]:
        """The sample indices of every shard, in order."""
        return (self.indices(shard) for shard in range(self.shards))


def shard_size(count: int, wished: int | None, samples_s: float, workers: int) -> int:
    """Samples per shard for a job of `count`, as `wished` or by time: about two minutes of work, or less where that
    lets every worker have some shards, but not so little that beginning one would be felt. Shards are alike, and every
    worker gets as many as the others.

    `samples_s`: how many samples one worker was seen to make in a second.
    """
    if wished is not None:
        return wished
    workers = max(1, workers)
    some, one = (-(-count // (shards * workers)) for shards in (_SHARDS_A_WORKER, 1))
    good_s = _LONE_SHARD_S if workers == 1 else _GOOD_SHARD_S
    most, good, least = (round(samples_s * seconds) for seconds in (_SHARD_S, good_s, _LEAST_SHARD_S))
    size = min(most, max(some, min(one, good), least))
    shards = -(-count // max(_SMALLEST_SHARD, min(_LARGEST_SHARD, size)))
    if shards > workers:
        shards = -(-shards // workers) * workers
    return max(_SMALLEST_SHARD, -(-count // shards))


def work_of(request: GenerateRequest) -> float:
    """What a sample of a request may cost, in candidates: those that are drawn for it on average, at worst, and one for
    each further version, as augmenting and encoding take about as long as drawing does."""
    wished, attempts = (request.balance.samples, request.balance.max_attempts) if request.balance else (0, 0)
    free = (request.count - wished) / (1 - request.discard_fraction)
    return (wished * attempts + free) / request.count + request.multiply - 1


def size_in_time(size: int, count: int, samples_s: float, work: float, timeout_s: float) -> int:
    """`size`, or fewer samples per shard where they take more than half of the time that a shard has; but never so few
    that a job of `count` has more shards than `_MOST_SHARDS`. Those may take too long, if nearly every candidate is
    drawn in vain.

    samples_s: candidates that one worker was seen to make in a second; work: of them, for a sample; timeout_s: after
    which a shard is given up, and its job with it.
    """
    return max(-(-count // _MOST_SHARDS), min(size, int(samples_s * timeout_s / 2 / work)))


def read_plan(store: Store, job_id: str) -> Plan | None:
    """The plan a job was given, or None if it has none yet."""
    try:
        return Plan.model_validate_json(store.read(_key(job_id)))
    except ObjectMissing:
        return None


def write_plan(store: Store, job_id: str, plan: Plan) -> None:
    """Fix the plan of a job."""
    store.put(_key(job_id), plan.model_dump_json().encode())


def _key(job_id: str) -> str:
    return dataset_key(job_id, "plan.json")
