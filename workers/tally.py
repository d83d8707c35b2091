"""What can be counted about a dataset while its samples pass, in memory that does not grow with them."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from service.label_schema import LabelSchema
from service.requests import Split
from workers.png import read_depth_steps
from workers.split import Part, part_of
from workers.tars import PackedSample, SampleFacts

UNKNOWN = "not known"
"""What stands for the value of an attribute that is not known."""


@dataclass
class ClassCoverage:
    """How often a class occurs in a dataset."""

    name: str
    samples: int = 0
    """Samples in which it has at least one pixel."""
    pixels: int = 0


class Histogram:
    """Counts of numbers in bins of one width, ten on either side of 0; the width doubles as often as the number
    farthest from 0 asks for.

    The outcome does not depend on the order of the numbers.
    """

    BINS = 10
    NARROWEST = 2.0**-80
    """Below the uncertainty of depths in any unit that a project may have."""

    def __init__(self) -> None:
        self.width = self.NARROWEST
        self._counts: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count one finite number."""
        while not -self.BINS <= value / self.width < self.BINS:
            self.width *= 2
            self._counts = sum((Counter({place // 2: count}) for place, count in self._counts.items()), Counter())
        self._counts[math.floor(value / self.width)] += 1

    @property
    def first(self) -> float:
        """Where the first bin begins: at 0, unless there are numbers below."""
        return self.width * min(0, min(self._counts, default=0))

    @property
    def counts(self) -> list[int]:
        """The bins' counts, from the first one up to the tenth above 0."""
        return [self._counts[place] for place in range(min(0, min(self._counts, default=0)), self.BINS)]


@dataclass
class Tally:
    """Running totals over a dataset's generated samples."""

    schema: LabelSchema
    split: Split | None = None
    samples: int = 0
    pixels: int = 0
    """Those of a class."""
    ignored: int = 0
    """Pixels of masks that are of no class."""
    uncertainty: Histogram = field(default_factory=Histogram)
    uncertainty_sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By label kind, and under `all` the samples' own."""
    parts: Counter[Part] = field(default_factory=Counter)
    draws: int = 0
    """Candidates drawn for the samples, each counted once however many versions it has."""
    sources: int = 0
    unmet: int = 0
    """Generated images, each version for itself, that do not show what balancing wished of them."""
    depth_steps: tuple[int, int] | None = None
    """Least and largest known depth in steps of the schema's scale."""
    seeds: int = 0
    """Seeds beside the samples. They are in no other total."""

    def __post_init__(self) -> None:
        self.classes = [ClassCoverage(entry.name) for entry in self.schema.classes]
        self.points: list[Counter[int]] = [Counter() for _ in self.schema.points]
        """Of each keypoint, how often it has each visibility."""
        self.attributes: list[Counter[str]] = [Counter() for _ in self.schema.attributes]
        """Of each attribute, how often it has each value."""

    def add(self, sample: PackedSample, side: int) -> None:
        """Count one sample of `side` × `side` pixels."""
        facts = sample.facts
        if facts.origin == "seed":
            self.seeds += 1
            return
        self.samples += 1
        self.parts[part_of(facts.source, self.split)] += 1
        self.uncertainty.add(facts.uncertainty)
        self.uncertainty_sums["all"] += facts.uncertainty
        for kind, value in facts.kinds.items():
            self.uncertainty_sums[kind] += value
        self.unmet += not facts.met
        if facts.version == 0:
            self.sources += 1
            self.draws += facts.attempts
        self._add_labels(facts, side)
        if sample.depth is not None:
            self._add_depth(sample.depth)

    def _add_labels(self, facts: SampleFacts, side: int) -> None:
        if facts.class_pixels is not None:
            known = sum(facts.class_pixels)
            self.pixels += known
            self.ignored += side * side - known
            for coverage, pixels in zip(self.classes, facts.class_pixels, strict=True):
                coverage.pixels += pixels
                coverage.samples += pixels > 0
        if facts.keypoints is not None:
            for point, (_, _, visibility) in zip(self.points, facts.keypoints, strict=True):
                point[visibility] += 1
        if facts.attributes is not None:
            described = zip(self.attributes, self.schema.attributes, facts.attributes, strict=True)
            for counts, attribute, index in described:
                counts[attribute.values[index] if index >= 0 else UNKNOWN] += 1

    def _add_depth(self, data: bytes) -> None:
        steps = read_depth_steps(data)
        known = steps[steps > 0]
        if known.size:
            least, largest = self.depth_steps or (2**16, 0)
            self.depth_steps = (min(least, int(np.min(known))), max(largest, int(np.max(known))))

    def mean_uncertainty(self, kind: str = "all") -> float:
        """Mean over the samples, in nats: of a label kind, or of the samples' own."""
        return self.uncertainty_sums[kind] / max(1, self.samples)
