"""How generated bears are compared with rendered ones."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from benchmarks.generator_quality.comparison import Comparison, earth_moved, total_variation
from benchmarks.generator_quality.judges import Judges, part_areas
from benchmarks.quality.data import rendered
from models.bears import PARTS, PLAIN, SPECIES

SIDE = 64


def test_the_earth_moved_is_that_of_the_best_pairing() -> None:
    random = np.random.default_rng(0)
    a, b = random.random(6), random.random(6)
    best = min(float(np.abs(a - b[list(order)]).mean()) for order in permutations(range(6)))
    assert earth_moved(a, b) == pytest.approx(best)


def test_part_areas_are_shares_of_each_image() -> None:
    masks = np.zeros((2, 4, 4), np.uint8)
    masks[1, :2] = 3
    assert part_areas(masks, 4).tolist() == [[1.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.5]]


def test_total_variation_is_one_for_what_has_nothing_in_common() -> None:
    a, b = np.array([0, 0, 1, 1]), np.array([2, 2, 2, 2])
    assert total_variation(a, a) == 0 and total_variation(a, b) == 1
    assert total_variation(a, np.array([0, 1, 1, 1])) == pytest.approx(0.25)


def test_judges_tell_changed_images_from_renders() -> None:
    torch.set_num_threads(1)
    judges = Judges.taught(48, 60, SIDE, PLAIN)
    exact, others = (rendered(range(start, start + 64), SIDE, PLAIN) for start in (1, 1_001))
    seen, other = judges.see(exact.images), judges.see(others.images)
    pandas_only = replace(seen, species=np.ones_like(seen.species))
    pale = replace(judges.see((exact.images // 2 + 127).astype(np.uint8)), species=pandas_only.species)
    same, changed = (Comparison(one, seen, other, PARTS).facts() for one in (seen, pale))
    assert same["frechet"] == pytest.approx(0, abs=1e-3) and same["species_distance"] == 0
    assert all(part["distance"] == 0 for part in same["parts"].values())
    assert changed["frechet"] > 3 * changed["frechet_floor"] > 0
    assert changed["species"][SPECIES[1]]["share"] == 1 and changed["species_distance"] > changed["species_floor"]
    assert set(changed["parts"]) == set(PARTS)
    assert sum(part["area"] for part in changed["parts"].values()) == pytest.approx(100, abs=0.02)
    mean_iou, accuracy = judges.check(exact)
    assert 0 < mean_iou < 1 and 0 < accuracy <= 1
