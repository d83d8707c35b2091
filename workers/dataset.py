"""A job's samples, read back from its shards."""

from collections.abc import Generator

from service.records import shard_key
from service.stores.protocol import ObjectMissing, Store
from workers.plan import Plan
from workers.public_errors import JobFailure
from workers.tars import PackedSample, ShardDamaged, read_shard


def read_samples(store: Store, job_id: str, plan: Plan, versions: int) -> Generator[PackedSample]:
    """Every version of every sample of the job in index order, one at a time.

    Raises `JobFailure` unless the shards hold exactly the `versions` of the samples that the plan names.
    """
    for shard in range(plan.shards):
        expected = ((source, version) for source in plan.indices(shard) for version in range(versions))
        try:
            with store.open(shard_key(job_id, shard)) as stream:
                for sample in read_shard(stream):
                    facts = sample.facts
                    if (facts.source, facts.version) != next(expected, None):
                        raise _damaged(shard)
                    if facts.index != facts.source * versions + facts.version:
                        raise _damaged(shard)
                    yield sample
        except ShardDamaged as damage:
            raise _damaged(shard) from damage
        except ObjectMissing as missing:
            detail = f"Shard {shard} is gone from the store. Send the request to generate again."
            raise JobFailure("dataset-gone", detail) from missing
        if next(expected, None) is not None:
            raise _damaged(shard)


def _damaged(shard: int) -> JobFailure:
    return JobFailure(
        "shard-damaged", f"Shard {shard} does not hold the samples it should. Send the request again.", retry=True
    )
