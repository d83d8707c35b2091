"""The steps that change colours and leave every label as it is."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from service.augmentation import GaussianBlur, GaussNoise, RandomBrightnessContrast, RGBShift
from workers.augmentation.streams import drawn

ColorStep = RGBShift | RandomBrightnessContrast | GaussianBlur | GaussNoise
Image = NDArray[np.uint8]

_LEVELS = np.arange(256.0)

_SIGMAS = 3.5
"""How far a kernel reaches that is left to sigma."""


def recolor(step: ColorStep, image: Image, random: Generator) -> Image:
    """What `step` makes of an image, uint8 (H, W, 3)."""
    match step:
        case RGBShift():
            limits = (step.r_shift_limit, step.g_shift_limit, step.b_shift_limit)
            return _looked_up(image, _LEVELS[:, None] + [drawn(limit, random) for limit in limits])
        case RandomBrightnessContrast():
            factor = 1 + drawn(step.contrast_limit, random)
            added = drawn(step.brightness_limit, random) * (255.0 if step.brightness_by_max else image.mean())
            return _looked_up(image, _LEVELS * factor + added)
        case GaussianBlur():
            return _blurred(step, image, random)
        case GaussNoise():
            return _noisy(step, image, random)


def _looked_up(image: Image, levels: NDArray[np.float64]) -> Image:
    """Each level replaced: (256,) for all channels or (256, 3)."""
    table = np.rint(levels).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table.reshape(256, 1, -1)), dtype=np.uint8)


def _blurred(step: GaussianBlur, image: Image, random: Generator) -> Image:
    sigma = drawn(step.sigma_limit, random)
    least, most = step.blur_limit
    side = least + 2 * int(random.integers((most - least) // 2 + 1)) if most else 2 * int(sigma * _SIGMAS) + 1
    blurred = cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, dtype=np.uint8)


def _noisy(step: GaussNoise, image: Image, random: Generator) -> Image:
    std, mean = drawn(step.std_range, random) * 255, drawn(step.mean_range, random) * 255
    shape = image.shape if step.per_channel else (*image.shape[:2], 1)
    noise = random.standard_normal(shape, dtype=np.float32) * np.float32(std) + np.float32(mean)
    return np.rint(image + noise).clip(0, 255).astype(np.uint8)
