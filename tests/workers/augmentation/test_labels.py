"""What augmentation does to names, to what is not known, and to what is covered."""

import numpy as np
import pytest

from models.labels import ImageLabels
from tests.workers.augmentation.pictures import SCHEMA, SIDE, picture, squares, steps
from workers.augmentation import augment, sample_random

FLIP = {"name": "HorizontalFlip", "p": 1}
HOLE = {"name": "CoarseDropout", "p": 1, "num_holes_range": [1, 1], "hole_height_range": [0.25, 0.25]}


def once(labels: ImageLabels, *wanted: dict[str, object], seed: int = 0) -> tuple[np.ndarray, ImageLabels]:  # type: ignore[type-arg]
    return augment(picture(), labels, steps(*wanted), SCHEMA, sample_random(seed, 0, 0))


@pytest.mark.parametrize(
    ("attributes", "flipped"), [([1, 0], [1, 2]), ([0, 2], [0, 0]), ([0, 1], [0, 1]), ([-1, -1],) * 2]
)
def test_a_flip_swaps_left_and_right_in_every_kind(attributes: list[int], flipped: list[int]) -> None:
    mask = np.array([0, 1, 2, 3, 255], np.uint8)[(np.arange(SIDE * SIDE) % 5).reshape(SIDE, SIDE)]
    keypoints = np.array([[10, 5, 2], [30.5, 9, 1], [50, 7, 2]], np.float32)
    labels = ImageLabels(mask, keypoints, attributes=np.array(attributes))
    _, moved = once(labels, FLIP)
    assert moved.mask is not None and moved.keypoints is not None and moved.attributes is not None
    for before, after in {0: 0, 1: 2, 2: 1, 3: 3, 255: 255}.items():
        assert ((mask == before)[:, ::-1] == (moved.mask == after)).all()
    # The point at x = 50 was the right eye; it is the left one of the image that has it at 64 - 50.
    assert moved.keypoints.tolist() == [[14, 7, 2], [33.5, 9, 1], [54, 5, 2]]
    assert moved.attributes.tolist() == flipped
    assert moved.attributes.dtype == np.int64
    # Flipped back, at once or after something else.
    for between in ([], [{"name": "RGBShift", "p": 1}]):
        _, back = once(labels, FLIP, *between, FLIP)
        assert back.mask is not None and back.keypoints is not None and back.attributes is not None
        assert (back.mask == mask).all() and (back.keypoints == keypoints).all()
        assert back.attributes.tolist() == attributes
    # What was given is as it was.
    assert labels.attributes is not None and labels.attributes.tolist() == attributes


def test_what_is_painted_outside_is_swapped_by_later_flips_alone() -> None:
    """As if each step were applied to the image that the one before it left."""
    still = {"rotate_limit": 0, "scale_limit": 0, "shift_limit": [0.5, 0.5]}
    shift = {"name": "ShiftScaleRotate", "p": 1, **still, "fill_mask": 1}
    labels = ImageLabels(squares())
    for wanted, painted in (([FLIP, shift], 1), ([shift, FLIP], 2), ([FLIP, shift, FLIP], 2), ([shift, FLIP, FLIP], 1)):
        _, after = once(labels, *wanted)
        _, blank = once(ImageLabels(depth=np.ones((SIDE, SIDE), np.float32)), *wanted)
        assert after.mask is not None and blank.depth is not None
        outside = np.isnan(blank.depth)
        assert outside.mean() == 0.75
        assert (after.mask[outside] == painted).all(), wanted


def test_a_flip_keeps_points_on_the_edge_and_drops_unknown_ones() -> None:
    keypoints = np.array([[0, 0, 2], [7, 8, 0], [SIDE, SIDE, 1]], np.float32)
    _, moved = once(ImageLabels(keypoints=keypoints), FLIP)
    assert moved.keypoints is not None
    assert moved.keypoints.tolist() == [[0, SIDE, 1], [0, 0, 0], [SIDE, 0, 2]]


def test_unknown_depth_never_bleeds_nor_mixes() -> None:
    """Two planes with a gap: wherever depth is known after a turn, it is one plane's value."""
    random = np.random.default_rng(0)
    depth = np.where(np.arange(SIDE) < 30, 5.0, 9.0)[None, :].repeat(SIDE, 0).astype(np.float32)
    depth[:, 29:32] = np.nan
    speckled = random.random((SIDE, SIDE)) < 0.2
    depth[speckled] = np.nan
    turn = {"name": "ShiftScaleRotate", "p": 1, "rotate_limit": [20, 20], "scale_limit": 0, "shift_limit": 0}
    _, moved = once(ImageLabels(depth=depth), turn)
    _, places = once(ImageLabels(mask=np.isnan(depth).astype(np.uint8)), turn)
    assert moved.depth is not None and places.mask is not None
    # Known exactly where the nearest pixel was.
    assert (np.isnan(moved.depth) == (places.mask > 0)).all()
    known = moved.depth[~np.isnan(moved.depth)]
    assert ((np.abs(known - 5) < 1e-5) | (np.abs(known - 9) < 1e-5)).all()
    assert (np.abs(known - 5) < 1e-5).any() and (np.abs(known - 9) < 1e-5).any()


def test_scaling_leaves_depth_values_alone() -> None:
    zoom = {"name": "ShiftScaleRotate", "p": 1, "rotate_limit": 0, "scale_limit": [1, 1], "shift_limit": 0}
    _, moved = once(ImageLabels(depth=np.full((SIDE, SIDE), 3.25, np.float32)), zoom)
    assert moved.depth is not None and (moved.depth == 3.25).all()


def test_ignored_pixels_stay_ignored() -> None:
    mask = squares()
    mask[20:40, 20:40] = 255
    wanted = {"name": "ShiftScaleRotate", "p": 1, "scale_limit": [1, 1], "rotate_limit": 0, "shift_limit": 0}
    _, moved = once(ImageLabels(mask=mask), wanted)
    assert moved.mask is not None
    # Twice the size about the centre: pixel j shows place (j + 0.5) / 2 + 16.
    origin = ((np.arange(SIDE) + 0.5) / 2 + 16).astype(int)
    assert (moved.mask == mask[np.ix_(origin, origin)]).all() and (moved.mask == 255).any()


@pytest.mark.parametrize("fill", [7, [1, 2, 3]])
@pytest.mark.parametrize("fill_mask", [None, 255, 2])
def test_a_hole_covers_what_it_says(fill: object, fill_mask: int | None) -> None:
    y, x = np.mgrid[4:SIDE:8, 4:SIDE:8] + 0.5
    keypoints = np.column_stack([x.ravel(), y.ravel(), np.arange(64) % 3]).astype(np.float32)
    depth = np.ones((SIDE, SIDE), np.float32)
    wanted = {**HOLE, "hole_width_range": [0.5, 0.5], "fill": fill, "fill_mask": fill_mask}
    image, after = once(ImageLabels(squares(), keypoints, depth), wanted)
    assert after.mask is not None and after.keypoints is not None and after.depth is not None
    hole = (image != picture()).any(-1)
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    assert (len(rows), len(columns)) == (16, 32) and hole.sum() == 16 * 32
    assert (image[hole] == fill).all()
    expected = squares()
    if fill_mask is not None:
        expected[hole] = fill_mask
    assert (after.mask == expected).all()
    assert (np.isnan(after.depth) == (hole if fill_mask is not None else False)).all()
    inside = hole[keypoints[:, 1].astype(int), keypoints[:, 0].astype(int)]
    assert inside.any() and (after.keypoints[:, :2] == keypoints[:, :2]).all()
    assert (after.keypoints[:, 2] == np.where(inside, np.minimum(keypoints[:, 2], 1), keypoints[:, 2])).all()


def test_holes_of_noise_and_of_one_color() -> None:
    image, _ = once(ImageLabels(), {**HOLE, "fill": "random"})
    hole = (image != picture()).any(-1)
    assert len(np.unique(image[hole], axis=0)) > 50
    image, _ = once(ImageLabels(), {**HOLE, "fill": "random_uniform"})
    hole = (image != picture()).any(-1)
    assert len(np.unique(image[hole], axis=0)) == 1


def patches() -> np.ndarray:  # type: ignore[type-arg]
    """Class 0 and 255 around two patches of class 1, one of class 2 that touches the first, and a speck of 3."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, 60:] = 255
    mask[4:20, 4:20] = 1
    mask[40:50, 40:56] = 1
    mask[20:30, 4:20] = 2
    mask[35, 5:7] = 3
    return mask


PATCHES = [(slice(4, 20), slice(4, 20)), (slice(40, 50), slice(40, 56)), (slice(20, 30), slice(4, 20))]


def test_mask_dropout_covers_one_whole_region() -> None:
    dropped = []
    for seed in range(30):
        keypoints = np.array([[10, 10, 2], [45, 45, 2], [10, 25, 2]], np.float32)
        labels = ImageLabels(patches(), keypoints, np.ones((SIDE, SIDE), np.float32))
        image, after = once(labels, {"name": "MaskDropout", "p": 1, "fill": 77, "fill_mask": 0}, seed=seed)
        assert after.mask is not None and after.keypoints is not None and after.depth is not None
        changed = (image == 77).all(-1)
        (which,) = [index for index, place in enumerate(PATCHES) if changed[place].all()]
        assert changed.sum() == changed[PATCHES[which]].sum()
        assert (image[~changed] == picture()[~changed]).all()
        assert (after.mask == np.where(changed, 0, patches())).all() and (np.isnan(after.depth) == changed).all()
        assert after.keypoints[:, 2].tolist() == [1 if index == which else 2 for index in range(3)]
        dropped.append(which)
    assert set(dropped) == {0, 1, 2}


def test_mask_dropout_takes_as_many_as_it_may_and_no_background() -> None:
    wanted = {"name": "MaskDropout", "p": 1, "max_objects": [64, 64]}
    _, after = once(ImageLabels(patches()), wanted)
    assert after.mask is not None
    expected = patches()
    expected[(expected == 1) | (expected == 2)] = 255
    assert (after.mask == expected).all()
    counts = set()
    for seed in range(30):
        _, after = once(ImageLabels(patches()), {**wanted, "max_objects": 2}, seed=seed)
        assert after.mask is not None
        counts.add(sum(bool((after.mask[place] == 255).all()) for place in PATCHES))
    assert counts == {1, 2}
    image, after = once(ImageLabels(np.zeros((SIDE, SIDE), np.uint8)), wanted)
    assert after.mask is not None and (after.mask == 0).all() and (image == picture()).all()


ALL = [
    FLIP,
    {"name": "RandomSizedCrop"},
    {"name": "ShiftScaleRotate", "p": 1},
    {"name": "ElasticTransform", "p": 1, "alpha": 40, "sigma": 5},
    {"name": "GridDistortion", "p": 1},
    {"name": "MaskDropout", "p": 1},
    {"name": "CoarseDropout", "p": 1, "fill_mask": 255},
]


@pytest.mark.parametrize("kind", ["mask", "keypoints", "depth", "attributes", None])
def test_kinds_that_are_not_there_stay_away_and_change_nothing(kind: str | None) -> None:
    everything = {
        "mask": squares(),
        "keypoints": np.array([[10, 5, 2], [30, 9, 1], [50, 7, 2]], np.float32),
        "depth": np.ones((SIDE, SIDE), np.float32),
        "attributes": np.array([0, 2]),
    }
    wanted = ALL if kind == "mask" else [step for step in ALL if step["name"] != "MaskDropout"]
    whole, _ = once(ImageLabels(**everything), *wanted)
    image, after = once(ImageLabels(**{kind: everything[kind]} if kind else {}), *wanted)
    assert [name for name in everything if getattr(after, name) is not None] == ([kind] if kind else [])
    assert (image == whole).all()
