"""A sample becomes the files of a shard as its job asked: augmented, judged and encoded."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.sampling import Sample
from service.requests import GenerateRequest
from tests.workers.packing import EVERY_KIND, PROJECT, SCALE, draw
from workers.augmentation import augment, sample_random
from workers.balance import wish_of_index
from workers.packing import Packer
from workers.png import read_depth_steps, read_mask

FLIP = {"name": "HorizontalFlip", "p": 1}
CUT = {"name": "RandomSizedCrop", "min_max_height": [0.3, 0.3]}
LEFT, RIGHT = 2, 3
"""Mirrored classes."""


def wanted(**request: Any) -> GenerateRequest:
    return GenerateRequest.model_validate({"project_id": PROJECT, "count": 20, "seed": 4} | request)


def sample(index: int, met: bool = True) -> Sample:
    drawn = draw(index, EVERY_KIND)
    return Sample(index, drawn.image, drawn.labels, 0.25, {"depth": 0.5}, attempts=7, met=met)


@pytest.mark.parametrize("index", [0, 2, 4])
def test_versions_are_what_augmentation_makes_of_the_sample(index: int) -> None:
    request = wanted(augment=[FLIP, CUT, {"name": "GaussNoise", "p": 1}], multiply=3, image_format="jpeg")
    given = sample(index)
    versions = Packer(request, EVERY_KIND)(given)
    assert len({version.image for version in versions}) == 3
    for number, version in enumerate(versions):
        random = sample_random(4, index, number)
        image, labels = augment(given.image, given.labels, request.augment, EVERY_KIND, random)
        facts = version.facts
        assert (facts.index, facts.source, facts.version) == (3 * index + number, index, number)
        assert (facts.uncertainty, facts.kinds, facts.attempts, facts.met) == (0.25, {"depth": 0.5}, 7, True)
        assert version.image_suffix == "jpg"
        with Image.open(BytesIO(version.image)) as stored:
            assert stored.format == "JPEG"
            assert np.abs(np.asarray(stored, np.float64) - image).mean() < 8
        assert labels.mask is not None and version.mask is not None
        assert (read_mask(version.mask) == labels.mask).all()
        assert facts.class_pixels == [int((labels.mask == value).sum()) for value in range(4)]
        assert labels.depth is not None and version.depth is not None
        steps = read_depth_steps(version.depth)
        assert ((steps == 0) == np.isnan(labels.depth)).all()
        assert np.abs(np.nan_to_num(labels.depth) - steps * SCALE).max() <= SCALE / 2 + 1e-6
        assert labels.keypoints is not None and facts.keypoints is not None
        assert np.abs(labels.keypoints - facts.keypoints).max() <= 0.005 + 1e-6
        assert labels.attributes is not None and facts.attributes == labels.attributes.tolist()


def test_without_augmentation_a_sample_is_packed_as_it_is() -> None:
    given = sample(1)
    [version] = Packer(wanted(), EVERY_KIND)(given)
    with Image.open(BytesIO(version.image)) as stored:
        assert (np.asarray(stored) == given.image).all()
    assert version.mask is not None and given.labels.mask is not None
    assert (read_mask(version.mask) == given.labels.mask).all()


@pytest.mark.parametrize("augmentation", [[], [FLIP, FLIP]], ids=["as it is", "flipped twice"])
def test_a_point_that_is_not_there_has_no_place(augmentation: list[dict[str, Any]]) -> None:
    given = sample(1)
    assert given.labels.keypoints is not None
    given.labels.keypoints[1] = (7.5, 9.25, 0)
    [version] = Packer(wanted(augment=augmentation), EVERY_KIND)(given)
    assert version.facts.keypoints is not None
    middle, left_end, _ = version.facts.keypoints
    assert middle[2] > 0
    assert left_end == (0, 0, 0)


def test_a_wish_is_judged_by_the_labels_delivered() -> None:
    """A right bar that is large enough is a left one once it is flipped, and the other bar is too small."""
    given = sample(0)
    assert given.labels.mask is not None
    left, right = ((given.labels.mask == value).mean() for value in (LEFT, RIGHT))
    assert left < right
    share = (left + right) / 2
    balance = {"coverage": {"bar: right": {"samples": 20, "min_share": share}}}
    for augmentation, met in (([], [True]), ([FLIP], [False]), ([FLIP, FLIP], [True])):
        versions = Packer(wanted(balance=balance, augment=augmentation), EVERY_KIND)(given)
        assert [version.facts.met for version in versions] == met
    half = [{"name": "HorizontalFlip", "p": 0.5}]
    versions = Packer(wanted(balance=balance, augment=half, multiply=16), EVERY_KIND)(given)
    shown = [version.facts.class_pixels[RIGHT] >= share * given.labels.mask.size for version in versions]
    assert [version.facts.met for version in versions] == shown
    assert set(shown) == {True, False}


def test_what_the_generator_did_not_draw_stays_unmet() -> None:
    [version] = Packer(wanted(balance={"class": {"small": 20}}), EVERY_KIND)(sample(0, met=False))
    assert not version.facts.met


def test_a_sample_without_a_wish_is_met_whatever_becomes_of_it() -> None:
    request = wanted(balance={"class": {"large": 10}}, augment=[FLIP])
    wish = wish_of_index(request, EVERY_KIND)
    assert wish is not None
    met = {}
    for index in range(20):  # those of even index are small
        [version] = Packer(request, EVERY_KIND)(sample(index))
        met[index] = version.facts.met
    assert met == {index: wish(index) is None or index % 2 == 1 for index in range(20)}
    assert 0 < sum(met.values()) < 20
