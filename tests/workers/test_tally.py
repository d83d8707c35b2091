"""What is counted while samples pass is what counting them all at once gives."""

from collections import Counter

import numpy as np
import pytest

from service.requests import Split
from tests.workers.packing import EVERY_KIND, SCALE, SIDE, draw
from workers.split import part_of
from workers.tally import Histogram, Tally


@pytest.mark.parametrize("largest", [1e-7, 0.3, 0.69, 5.0])
def test_a_histogram_counts_every_number_in_any_order(largest: float) -> None:
    random = np.random.default_rng(2)
    numbers = [*random.uniform(0, largest, 400).tolist(), 0.0, largest]
    shuffled = random.permutation(numbers).tolist()
    one, other = Histogram(), Histogram()
    for value, another in zip(numbers, shuffled, strict=True):
        one.add(value)
        other.add(another)
    assert (one.width, one.counts) == (other.width, other.counts)
    borders = np.arange(Histogram.BINS + 1) * one.width
    assert one.counts == np.histogram(numbers, borders)[0].tolist()
    assert sum(one.counts) == 402
    assert one.width == Histogram.NARROWEST or sum(one.counts[Histogram.BINS // 2 :])  # no wider than it has to be


def test_a_histogram_takes_numbers_on_both_sides_of_zero() -> None:
    numbers = np.random.default_rng(3).normal(0.2, 1.0, 500).tolist()
    one, other = Histogram(), Histogram()
    for value, another in zip(numbers, reversed(numbers), strict=True):
        one.add(value)
        other.add(another)
    assert (one.width, one.first, one.counts) == (other.width, other.first, other.counts)
    borders = one.first + np.arange(len(one.counts) + 1) * one.width
    assert one.counts == np.histogram(numbers, borders)[0].tolist()
    assert sum(one.counts) == 500
    assert one.first < 0 < one.counts[0]


def test_totals_are_those_of_the_labels() -> None:
    split = Split(train=0.5, val=0.5)
    drawn = [draw(index, EVERY_KIND, versions=2) for index in range(20)]
    tally = Tally(EVERY_KIND, split)
    for entry in drawn:
        tally.add(entry.packed, SIDE)
    masks = np.stack([entry.labels.mask for entry in drawn if entry.labels.mask is not None])
    depth = np.stack([entry.labels.depth for entry in drawn if entry.labels.depth is not None])
    points = np.stack([entry.labels.keypoints for entry in drawn if entry.labels.keypoints is not None])
    for value, coverage in enumerate(tally.classes):
        assert coverage.pixels == (masks == value).sum()
        assert coverage.samples == (masks == value).any(axis=(1, 2)).sum()
    assert (tally.ignored, tally.pixels) == ((masks == 255).sum(), (masks != 255).sum())
    for number, counts in enumerate(tally.points):
        assert [counts[visibility] for visibility in range(3)] == [(points[:, number, 2] == v).sum() for v in range(3)]
    assert tally.depth_steps == (round(np.nanmin(depth) / SCALE), round(np.nanmax(depth) / SCALE))
    assert tally.attributes[0] == {"small": 10, "large": 10}
    assert tally.attributes[1] == {"not known": 5, "light": 15}
    facts = [entry.packed.facts for entry in drawn]
    assert tally.mean_uncertainty() == pytest.approx(np.mean([fact.uncertainty for fact in facts]))
    assert tally.mean_uncertainty("depth") == pytest.approx(np.mean([fact.kinds["depth"] for fact in facts]))
    first = [fact for fact in facts if fact.version == 0]
    assert (tally.sources, tally.draws) == (10, sum(fact.attempts for fact in first))
    assert tally.unmet == 1  # a later version of a sample whose first one is as it was wished
    assert tally.parts == Counter(part_of(fact.source, split) for fact in facts)
