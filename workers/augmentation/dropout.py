"""The steps that paint over parts of an image, so that what lies there is hidden."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.labels import ImageLabels
from service.augmentation import CoarseDropout, MaskDropout
from service.label_schema import IGNORED
from workers.augmentation.streams import drawn

DropoutStep = MaskDropout | CoarseDropout
Image = NDArray[np.uint8]

_SMALLEST_REGION = 1e-3
"""Share of the image's pixels; smaller patches are specks and no objects."""


def drop(step: DropoutStep, image: Image, labels: ImageLabels, random: Generator) -> tuple[Image, ImageLabels]:
    """What `step` makes of an image (H, W, 3) and its labels: colours, mask and depth there, and points hidden."""
    image = image.copy()
    if isinstance(step, MaskDropout):
        hidden = _regions(step, labels.mask, random) if labels.mask is not None else np.zeros(image.shape[:2], bool)
        image[hidden] = step.fill
    else:
        hidden = _cut(step, image, random)
    return image, _without(labels, hidden, step.fill_mask)


def _regions(step: MaskDropout, mask: Image, random: Generator) -> NDArray[np.bool_]:
    """The pixels (H, W) of a random choice among the mask's regions."""
    numbers = np.zeros(mask.shape, np.int32)
    areas = [0]
    for label in np.unique(mask):
        if label not in (0, IGNORED):
            there = mask == label
            _, patches, stats, _ = cv2.connectedComponentsWithStats(there.view(np.uint8), connectivity=8)
            numbers[there] = patches[there] + len(areas) - 1
            areas += stats[1:, cv2.CC_STAT_AREA].tolist()
    objects = np.flatnonzero(np.array(areas) >= _SMALLEST_REGION * mask.size)
    wanted = int(random.integers(step.max_objects[0], step.max_objects[1] + 1))
    return np.isin(numbers, random.permutation(objects)[:wanted])


def _cut(step: CoarseDropout, image: Image, random: Generator) -> NDArray[np.bool_]:
    """Fill random rectangles of `image` in place; the pixels (H, W) that they cover."""
    height, width = image.shape[:2]
    hidden = np.zeros((height, width), bool)
    for _ in range(int(random.integers(step.num_holes_range[0], step.num_holes_range[1] + 1))):
        rows = max(1, round(drawn(step.hole_height_range, random) * height))
        columns = max(1, round(drawn(step.hole_width_range, random) * width))
        top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
        hole = slice(top, top + rows), slice(left, left + columns)
        if step.fill == "random":
            image[hole] = random.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        elif step.fill == "random_uniform":
            image[hole] = random.integers(0, 256, 3, dtype=np.uint8)
        else:
            image[hole] = step.fill
        hidden[hole] = True
    return hidden


def _without(labels: ImageLabels, hidden: NDArray[np.bool_], fill_mask: int | None) -> ImageLabels:
    """The labels with visible points in there hidden; mask and depth stay as they are if `fill_mask` is None."""
    mask, keypoints, depth = labels.mask, labels.keypoints, labels.depth
    if keypoints is not None:
        height, width = hidden.shape
        columns, rows = keypoints[:, 0].astype(int), keypoints[:, 1].astype(int)
        there = (keypoints[:, 2] > 0) & hidden[rows.clip(0, height - 1), columns.clip(0, width - 1)]
        keypoints = keypoints.copy()
        keypoints[there, 2] = 1
    if mask is not None and fill_mask is not None:
        mask = np.where(hidden, np.uint8(fill_mask), mask)
    if depth is not None and fill_mask is not None:
        depth = np.where(hidden, np.float32(np.nan), depth)
    return ImageLabels(mask, keypoints, depth, labels.attributes)
