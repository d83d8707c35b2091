"""The colour steps against what they say they do, in float64."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from models.labels import ImageLabels
from tests.workers.augmentation.pictures import SCHEMA, SIDE, squares, steps
from workers.augmentation import augment, sample_random

GREY = np.full((SIDE, SIDE, 3), 128, np.uint8)


def recolored(image: NDArray[np.uint8], wanted: dict[str, object], seed: int = 0) -> NDArray[np.float64]:
    labels = ImageLabels(squares(), np.ones((3, 3), np.float32), np.ones((SIDE, SIDE), np.float32), np.array([0, 0]))
    changed, after = augment(image, labels, steps({"p": 1, **wanted}), SCHEMA, sample_random(seed, 0, 0))
    assert after is labels and changed.dtype == np.uint8
    return changed.astype(np.float64)


def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def test_a_shift_adds_to_each_channel() -> None:
    limits = {"r_shift_limit": [30, 30], "g_shift_limit": [-40, -40], "b_shift_limit": 0}
    changed = recolored(noise(), {"name": "RGBShift", **limits})
    assert (changed == (noise() + np.array([30.0, -40, 0])).clip(0, 255)).all()
    drawn = np.array([recolored(GREY, {"name": "RGBShift"}, seed)[0, 0] - 128 for seed in range(200)])
    assert np.abs(drawn).max() <= 20 and np.abs(drawn.mean(0)).max() < 4
    assert drawn.std(0) == pytest.approx(20 / math.sqrt(3), rel=0.15)
    assert np.abs(np.corrcoef(drawn.T)[np.triu_indices(3, 1)]).max() < 0.25


@pytest.mark.parametrize("by_max", [True, False])
def test_contrast_multiplies_and_brightness_adds(by_max: bool) -> None:
    limits = {"brightness_limit": [0.1, 0.1], "contrast_limit": [-0.3, -0.3], "brightness_by_max": by_max}
    changed = recolored(noise(), {"name": "RandomBrightnessContrast", **limits})
    expected = 0.7 * noise() + 0.1 * (255 if by_max else noise().mean())
    assert np.abs(changed - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(("sides", "side"), [(0, 11), ([5, 5], 5)])
def test_blur_is_a_gaussian(sides: object, side: int) -> None:
    sigma = 1.5
    changed = recolored(noise(), {"name": "GaussianBlur", "sigma_limit": [sigma, sigma], "blur_limit": sides})
    reach = side // 2
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    padded = np.pad(noise().astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), "reflect")
    rows = sum(weight * padded[at : at + SIDE] for at, weight in enumerate(kernel))
    expected = sum(weight * rows[:, at : at + SIDE] for at, weight in enumerate(kernel))
    assert np.abs(changed - expected).max() < 1.6


def test_noise_has_the_spread_and_mean_asked_for() -> None:
    limits: dict[str, object] = {"name": "GaussNoise", "std_range": [0.05, 0.05], "mean_range": [0.1, 0.1]}
    added = recolored(GREY, limits) - 128
    assert added.mean() == pytest.approx(25.5, abs=0.6) and added.std() == pytest.approx(12.75, rel=0.03)
    assert np.abs(np.corrcoef(added.reshape(-1, 3).T)[np.triu_indices(3, 1)]).max() < 0.06
    added = recolored(GREY, {**limits, "per_channel": False}) - 128
    assert (added == added[..., :1]).all() and added.std() == pytest.approx(12.75, rel=0.05)
