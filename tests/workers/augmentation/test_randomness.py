"""What is drawn depends on the job's seed, the sample and the version, and each step's draw on its place."""

import hashlib
import multiprocessing

import numpy as np
import pytest
from numpy.random import Generator, Philox

from models.labels import ImageLabels
from tests.workers.augmentation.pictures import SCHEMA, SIDE, picture, squares, steps
from workers.augmentation import augment, sample_random

NAMES = [
    "HorizontalFlip",
    "RandomSizedCrop",
    "ShiftScaleRotate",
    "ElasticTransform",
    "GridDistortion",
    "RGBShift",
    "RandomBrightnessContrast",
    "GaussianBlur",
    "GaussNoise",
    "MaskDropout",
    "CoarseDropout",
]
STRONG: dict[str, dict[str, object]] = {"ElasticTransform": {"alpha": 60, "sigma": 5}}


def labels() -> ImageLabels:
    keypoints = np.array([[10, 5, 2], [30, 9, 1], [50, 7, 2]], np.float32)
    return ImageLabels(squares(), keypoints, np.ones((SIDE, SIDE), np.float32), np.array([0, 2]))


def digest(index: int) -> str:
    """Of sample `index` and its labels, augmented by every step."""
    wanted = steps(*({"name": name, "p": 0.7, **STRONG.get(name, {})} for name in NAMES))
    image, after = augment(picture(), labels(), wanted, SCHEMA, sample_random(5, index, 1))
    found = hashlib.sha256(image.tobytes())
    for array in (after.mask, after.keypoints, after.depth, after.attributes):
        assert array is not None
        found.update(array.tobytes())
    return found.hexdigest()


def test_a_sample_is_the_same_in_any_process_and_after_any_other() -> None:
    alone = [digest(index) for index in range(12)]
    assert len(set(alone)) == 12
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(digest, range(11, -1, -1), chunksize=1) == alone[::-1]


def test_seed_sample_and_version_all_count() -> None:
    def first(*wanted: int) -> int:
        return int(sample_random(*wanted).integers(2**63))

    assert len({first(*wanted) for wanted in [(1, 2, 0), (2, 1, 0), (1, 2, 1), (1, 3, 0)]}) == 4
    assert first(1, 2, 0) == first(1, 2, 0)
    assert first(2**63 - 1, 10**9, 99) >= 0
    # The third word of the counter keeps them from the numbers that samples are drawn with.
    expected = Generator(Philox(key=np.array([7, 8], np.uint64), counter=np.array([0, 0, 1, 9], np.uint64)))
    assert (sample_random(7, 8, 9).random(5) == expected.random(5)).all()


@pytest.mark.parametrize("name", NAMES)
def test_probability_zero_changes_nothing_and_one_always_something(name: str) -> None:
    for seed in range(5):
        given = labels()
        random = sample_random(seed, 0, 0)
        image, after = augment(picture(), given, steps({"name": name, "p": 0}), SCHEMA, random)
        assert (image == picture()).all() and after is given
        always = steps({"name": name, "p": 1, **STRONG.get(name, {})})
        image, _ = augment(picture(), given, always, SCHEMA, sample_random(seed, 0, 0))
        assert (image != picture()).any()
        assert given.mask is not None and (given.mask == squares()).all()


def test_no_steps_change_nothing() -> None:
    given = labels()
    image, after = augment(picture(), given, [], SCHEMA, sample_random(0, 0, 0))
    assert (image == picture()).all() and after is given


def test_steps_are_applied_as_often_as_they_should() -> None:
    wanted = steps({"name": "HorizontalFlip", "p": 0.3}, {"name": "RGBShift", "p": 0.6})
    small = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) + 100
    flips, shifts = [], []
    for index in range(1500):
        image, _ = augment(small, ImageLabels(), wanted, SCHEMA, sample_random(0, index, 0))
        flips.append(int(image[0, 0, 0]) > int(image[0, 3, 0]))
        expected = small[:, ::-1] if flips[-1] else small
        shifts.append(bool((image != expected).any()))
    # Five standard deviations. A drawn shift of less than half a level in all channels is too rare to count.
    assert np.mean(flips) == pytest.approx(0.3, abs=0.06) and np.mean(shifts) == pytest.approx(0.6, abs=0.065)
    assert abs(np.corrcoef(flips, shifts)[0, 1]) < 0.13


def test_a_step_does_not_disturb_what_others_draw() -> None:
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    shift = {"name": "RGBShift", "p": 1}
    for seed in range(5):
        found = []
        for before in (
            {"name": "GaussianBlur", "p": 0},
            {"name": "GaussianBlur", "p": 1},
            {"name": "ShiftScaleRotate", "p": 1, "border_mode": "replicate"},
            {"name": "ElasticTransform", "p": 0.5, "border_mode": "replicate"},
        ):
            for after in ([], [{"name": "HorizontalFlip", "p": 1}]):
                image, _ = augment(grey, ImageLabels(), steps(before, shift, *after), SCHEMA, sample_random(seed, 0, 0))
                found.append(image)
        assert all((image == found[0]).all() for image in found)
        twice, _ = augment(grey, ImageLabels(), steps(shift, shift), SCHEMA, sample_random(seed, 0, 0))
        assert (twice.astype(int) - 128 != 2 * (found[0].astype(int) - 128)).any()
