"""Seeds are held out at random, but those that show something rare not together."""

import torch

from models.fitting.folds import deal
from models.fitting.seed_labels import LabelTensors

NOTHING = LabelTensors(None, None, None, None)


def parts_of(labels: LabelTensors, count: int, folds: int, seed: int = 0) -> list[set[int]]:
    return [set(part.tolist()) for part in deal(torch.arange(count), labels, folds, seed)]


def test_every_seed_is_in_one_part_and_parts_are_of_one_size() -> None:
    masks = torch.randint(0, 4, (23, 4, 4), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    for labels in (NOTHING, LabelTensors(masks, None, None, None)):
        parts = deal(torch.arange(100, 123), labels if labels is NOTHING else _moved(labels), 4, 0)
        assert sorted(torch.cat(parts).tolist()) == list(range(100, 123))
        assert sorted(map(len, parts)) == [5, 6, 6, 6]


def _moved(labels: LabelTensors) -> LabelTensors:
    """So that row 100 + i has the labels of image i."""
    assert labels.masks is not None
    return LabelTensors(torch.cat([torch.zeros(100, 4, 4, dtype=torch.uint8), labels.masks]), None, None, None)


def test_what_is_alike_in_all_is_dealt_at_random() -> None:
    alike = LabelTensors(torch.zeros(20, 4, 4, dtype=torch.uint8), None, None, None)
    one, other = parts_of(alike, 20, 4, seed=0), parts_of(alike, 20, 4, seed=1)
    assert one != other and one == parts_of(alike, 20, 4, seed=0)
    assert one != [set(range(fold, 20, 4)) for fold in range(4)]


def test_two_that_share_a_rare_class_point_or_value_are_never_held_out_together() -> None:
    for seed in range(40):
        masks = torch.zeros(12, 4, 4, dtype=torch.uint8)
        masks[:, 0, 0] = 255
        masks[[3, 9], 1, 1] = 7
        points = torch.ones(12, 2, 3)
        points[:, 1, 2] = 0
        points[[0, 5], 1, 2] = 2
        values = torch.zeros(12, 1, dtype=torch.int64)
        values[6] = -1
        values[[4, 8], 0] = 1
        parts = parts_of(LabelTensors(masks, points, None, values), 12, 4, seed)
        for pair in ({3, 9}, {0, 5}, {4, 8}):
            assert not any(pair <= part for part in parts), (seed, pair)


def test_several_rare_ones_are_spread() -> None:
    for seed in range(20):
        masks = torch.zeros(20, 4, 4, dtype=torch.uint8)
        masks[:4, 0, 0] = 1
        parts = parts_of(LabelTensors(masks, None, None, None), 20, 4, seed)
        assert [len(part & {0, 1, 2, 3}) for part in parts] == [1, 1, 1, 1]
