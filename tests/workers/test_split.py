"""Parts of a dataset: near the shares asked for at every size, and never moved."""

from collections import Counter

import pytest

from service.requests import Split
from workers.split import PARTS, part_of, parts_of

SPLITS = [
    Split(train=0.8, val=0.1, test=0.1),
    Split(train=0.98, val=0.02),
    Split(train=0.7, test=0.3),
    Split(train=1 / 3, val=1 / 3, test=1 / 3),
    Split(train=0.0, val=1.0),
]


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_every_beginning_of_a_dataset_has_the_shares_asked_for(split: Split) -> None:
    counts = Counter[str]()
    for source in range(5000):
        counts[part_of(source, split)] += 1
        for part in PARTS:
            assert abs(counts[part] - (source + 1) * getattr(split, part)) < 3
    assert set(counts) == set(parts_of(split))


def test_the_parts_are_not_runs_of_samples() -> None:
    """Neighbours are alike where samples are drawn in turn, as the classes of a conditional generator are."""
    split = Split(train=0.5, val=0.5)
    for period in range(2, 11):
        for turn in range(period):
            counts = Counter(part_of(source, split) for source in range(turn, 1000 * period, period))
            assert abs(counts["val"] - 500) < 15, (period, turn)


def test_parts_stay_as_they_are() -> None:
    """What was in `test` once must never be trained on."""
    initials = "".join(part_of(source, Split(train=0.6, val=0.2, test=0.2))[:2] for source in range(12))
    assert initials == "vatrtetrtrvatrtetrtrvatr"


def test_without_a_split_everything_is_for_training() -> None:
    assert {part_of(source, None) for source in range(100)} == {"train"}
    assert parts_of(None) == ("train",)
