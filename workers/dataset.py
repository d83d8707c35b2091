"""A job's samples, read back from its shards, and what can be counted about them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from service.label_schema import LabelClass
from service.records import shard_key
from service.stores.protocol import Store
from workers.plan import Plan
from workers.public_errors import JobFailure
from workers.tars import PackedSample, SampleFacts, ShardDamaged, read_shard


def read_samples(store: Store, job_id: str, plan: Plan) -> Iterator[PackedSample]:
    """Every sample of the job in index order, one at a time.

    Raises `JobFailure` unless the shards hold exactly the indices 0 to `plan.count` − 1, and `ObjectMissing` if one is
    gone.
    """
    for shard in range(plan.shards):
        expected = iter(plan.indices(shard))
        try:
            with store.open(shard_key(job_id, shard)) as stream:
                for sample in read_shard(stream):
                    if sample.facts.index != next(expected, None):
                        raise _damaged(shard)
                    yield sample
        except ShardDamaged as damage:
            raise _damaged(shard) from damage
        if next(expected, None) is not None:
            raise _damaged(shard)


def _damaged(shard: int) -> JobFailure:
    return JobFailure(
        "shard-damaged", f"Shard {shard} does not hold the samples it should. Send the request again.", retry=True
    )


@dataclass
class ClassCoverage:
    """How often a class occurs in a dataset."""

    name: str
    samples: int = 0
    """Samples in which it has at least one pixel."""
    pixels: int = 0


@dataclass
class Tally:
    """Running totals over a dataset's samples."""

    classes: list[ClassCoverage]
    samples: int = 0
    pixels: int = 0
    uncertainty_sum: float = field(default=0.0)

    @classmethod
    def of(cls, classes: list[LabelClass]) -> "Tally":
        """An empty tally for these classes."""
        return cls([ClassCoverage(entry.name) for entry in classes])

    def add(self, facts: SampleFacts) -> None:
        """Count one sample."""
        self.samples += 1
        self.pixels += sum(facts.class_pixels or [])
        self.uncertainty_sum += facts.uncertainty
        for coverage, pixels in zip(self.classes, facts.class_pixels or [], strict=True):
            coverage.pixels += pixels
            coverage.samples += pixels > 0

    @property
    def mean_uncertainty(self) -> float:
        """Mean over the samples, in nats."""
        return self.uncertainty_sum / max(1, self.samples)


def coverage(facts: SampleFacts) -> list[float]:
    """Each class's share of one sample's pixels, rounded to six places; they add up to 1."""
    pixels = facts.class_pixels or []
    total = max(1, sum(pixels))
    return [round(count / total, 6) for count in pixels]
