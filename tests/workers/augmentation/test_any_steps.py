"""Whatever the steps, parameters and labels: what comes out is well-formed."""

import math
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.labels import ImageLabels
from service.augmentation import BorderMode
from tests.workers.augmentation.pictures import SCHEMA, STEPS
from workers.augmentation import augment, sample_random


def ranges(low: float, high: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(low, high), min_size=2, max_size=2).map(sorted)


def counts(low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=2, max_size=2).map(sorted)


FILL = st.integers(0, 255) | st.tuples(*[st.integers(0, 255)] * 3).map(list)
BORDER: dict[str, Any] = {
    "border_mode": st.sampled_from([mode.value for mode in BorderMode]),
    "fill": FILL,
    "fill_mask": st.sampled_from([0, 3, 255]),
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "HorizontalFlip": {},
    "RandomSizedCrop": {"min_max_height": ranges(0.1, 1), "w2h_ratio": st.floats(0.1, 10)},
    "ShiftScaleRotate": {
        "shift_limit": ranges(-1, 1),
        "scale_limit": ranges(-0.9, 4),
        "rotate_limit": ranges(-180, 180),
        **BORDER,
    },
    "ElasticTransform": {"alpha": st.floats(0, 10_000), "sigma": st.floats(1, 500), **BORDER},
    "GridDistortion": {"num_steps": st.integers(1, 64), "distort_limit": ranges(-0.9, 0.9)},
    "RGBShift": {f"{channel}_shift_limit": ranges(-255, 255) for channel in "rgb"},
    "RandomBrightnessContrast": {
        "brightness_limit": ranges(-1, 1),
        "contrast_limit": ranges(-1, 1),
        "brightness_by_max": st.booleans(),
    },
    "GaussianBlur": {
        "sigma_limit": ranges(0.1, 10),
        "blur_limit": st.just(0) | counts(1, 49).map(lambda pair: [2 * side + 1 for side in pair]),
    },
    "GaussNoise": {"std_range": ranges(0, 1), "mean_range": ranges(-1, 1), "per_channel": st.booleans()},
    "MaskDropout": {"max_objects": counts(1, 64), "fill": FILL, "fill_mask": st.sampled_from([0, 3, 255])},
    "CoarseDropout": {
        "num_holes_range": counts(1, 64),
        "hole_height_range": ranges(0, 1),
        "hole_width_range": ranges(0, 1),
        "fill": FILL | st.sampled_from(["random", "random_uniform"]),
        "fill_mask": st.sampled_from([None, 3, 255]),
    },
}
STEP = st.one_of(
    [
        st.fixed_dictionaries({"name": st.just(name)}, optional={**parameters, "p": st.floats(0.5, 1)})
        for name, parameters in PARAMETERS.items()
    ]
)


def labels(random: np.random.Generator, height: int, width: int) -> ImageLabels:
    """Labels of every kind, each there or not, with unknowns in all of them."""
    depth = random.uniform(0.1, 60, (height, width)).astype(np.float32)
    depth[random.random((height, width)) < random.choice([0, 0.3, 1])] = np.nan
    keypoints = np.column_stack(
        [random.uniform(0, width, 3), random.uniform(0, height, 3), random.integers(0, 3, 3)]
    ).astype(np.float32)
    everything = {
        "mask": random.choice(np.array([0, 1, 2, 3, 255], np.uint8), (height, width)),
        "keypoints": keypoints,
        "depth": depth,
        "attributes": random.integers(-1, 2, 2),
    }
    return ImageLabels(**{name: value for name, value in everything.items() if random.random() < 0.8})


@given(
    chosen=st.lists(STEP, max_size=6),
    seed=st.integers(0, 2**63 - 1),
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
)
@example(chosen=[{"name": "RGBShift", "r_shift_limit": [0.0, -0.0], "p": 1}], seed=0, size=(2, 2))
@settings(max_examples=120, deadline=None)
def test_shapes_types_and_values_hold(chosen: list[dict[str, Any]], seed: int, size: tuple[int, int]) -> None:
    height, width = size
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = labels(random, height, width)
    steps = STEPS.validate_python(chosen)
    changed, after = augment(image, before, steps, SCHEMA, sample_random(seed, 3, 1))
    assert changed.shape == image.shape and changed.dtype == np.uint8
    for name in ("mask", "keypoints", "depth", "attributes"):
        old, new = getattr(before, name), getattr(after, name)
        assert (old is None) == (new is None)
        if old is not None:
            assert (new.shape, new.dtype) == (old.shape, old.dtype)
    if after.mask is not None and before.mask is not None:
        fills = {step["fill_mask"] for step in chosen if step.get("fill_mask") is not None}
        allowed = {0, 255} if "MaskDropout" in str(chosen) else {255}
        mirrors = {1, 2} if {1, 2} & ({*before.mask.flat} | fills) else set()
        assert {*after.mask.flat} <= {*before.mask.flat} | fills | allowed | mirrors
    if after.keypoints is not None:
        x, y, seen = after.keypoints.T
        there = seen > 0
        assert np.isin(seen, [0, 1, 2]).all()
        assert ((x >= 0) & (x <= width) & (y >= 0) & (y <= height))[there].all()
    if after.depth is not None and before.depth is not None:
        known = np.isfinite(after.depth)
        if known.any():
            assert math.isclose(
                np.nanmin(before.depth), min(np.nanmin(before.depth), after.depth[known].min()), rel_tol=1e-5
            )
            assert after.depth[known].max() <= np.nanmax(before.depth) * (1 + 1e-5)
