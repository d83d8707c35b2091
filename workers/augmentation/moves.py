"""The steps that move pixels, each with the amounts that were drawn for one image."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from service.augmentation import (
    Bordered,
    ElasticTransform,
    GridDistortion,
    HorizontalFlip,
    RandomSizedCrop,
    ShiftScaleRotate,
)
from workers.augmentation.maps import STEEPEST, Affine, Bends, Displacement, Floats, Map
from workers.augmentation.streams import drawn

GeometricStep = HorizontalFlip | RandomSizedCrop | ShiftScaleRotate | ElasticTransform | GridDistortion

_NODES_IN_SIGMA = 3
"""Nodes of the lattice on which the noise of an elastic transform is smoothed."""

_FEWEST_NODES = 8
"""Along the image's shorter side; they keep the noise of a wide sigma from becoming a single shift."""


@dataclass(frozen=True)
class Move:
    """A map, with what is shown where it looks outside the image (None: it never does), and whether left is right."""

    map: Map
    border: Bordered | None = None
    mirrors: bool = False


def move(step: GeometricStep, height: int, width: int, random: Generator) -> Move:
    """What `step` does to one image of this size."""
    match step:
        case HorizontalFlip():
            return Move(Affine(np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0]])), mirrors=True)
        case RandomSizedCrop():
            return Move(_crop(step, height, width, random))
        case ShiftScaleRotate():
            return Move(_shift_scale_rotate(step, height, width, random), step)
        case ElasticTransform():
            return Move(_elastic(step, height, width, random), step)
        case GridDistortion():
            return Move(Bends(_bends(step, width, random), _bends(step, height, random)))


def _crop(step: RandomSizedCrop, height: int, width: int, random: Generator) -> Affine:
    part_height = drawn(step.min_max_height, random) * height
    part_width = min(part_height * step.w2h_ratio, width)
    left, top = random.random() * (width - part_width), random.random() * (height - part_height)
    return Affine(np.array([[part_width / width, 0.0, left], [0.0, part_height / height, top]]))


def _shift_scale_rotate(step: ShiftScaleRotate, height: int, width: int, random: Generator) -> Affine:
    angle = math.radians(drawn(step.rotate_limit, random))
    scale = 1 + drawn(step.scale_limit, random)
    shift = np.array([drawn(step.shift_limit, random) * width, drawn(step.shift_limit, random) * height])
    # Rows point down, so turning counter-clockwise forth is this turn back.
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    turn = np.array([[cos, -sin], [sin, cos]])
    centre = np.array([width / 2, height / 2])
    return Affine(np.column_stack([turn, centre - turn @ (centre + shift)]))


def _bends(step: GridDistortion, length: int, random: Generator) -> Floats:
    widths = 1 + np.array([drawn(step.distort_limit, random) for _ in range(step.num_steps)])
    before = np.concatenate([[0.0], np.cumsum(widths) / widths.sum()])
    before[-1] = 1.0
    return np.stack([np.linspace(0.0, 1.0, step.num_steps + 1), before]) * length


def _elastic(step: ElasticTransform, height: int, width: int, random: Generator) -> Displacement:
    """Noise of variance alpha² in each pixel, smoothed by a Gaussian of sigma.

    A sigma of many pixels leaves nothing that needs every pixel: there, the noise lives on a lattice, with the variance
    that the mean of a node's pixels has, and costs the same whatever sigma is.
    """
    spacing = max(1, min(int(step.sigma / _NODES_IN_SIGMA), min(height, width) // _FEWEST_NODES))
    rows, columns = -(-height // spacing), -(-width // spacing)
    noise = random.standard_normal((rows, columns, 2), dtype=np.float32) * np.float32(step.alpha / spacing)
    field = np.asarray(cv2.GaussianBlur(noise, (0, 0), step.sigma / spacing), dtype=np.float32)
    if spacing > 1:
        whole = cv2.resize(field, (columns * spacing, rows * spacing), interpolation=cv2.INTER_CUBIC)
        field = np.asarray(whole[:height, :width], dtype=np.float32)
    return Displacement(_unfolded(np.ascontiguousarray(np.moveaxis(field, 2, 0))))


def _unfolded(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """The field, made smaller if it needs be so that it changes by at most `STEEPEST` a pixel in any direction."""
    steepest = math.hypot(*(float(np.square(np.diff(field, axis=axis)).sum(0).max()) ** 0.5 for axis in (1, 2)))
    return field if steepest <= STEEPEST else field * np.float32(STEEPEST / steepest)
