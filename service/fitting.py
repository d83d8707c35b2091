"""Bringing an image and its labels to the generator's square: short side to the resolution, then the centre."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.records import Fitting

T = TypeVar("T", bound=np.generic)


def plan_fitting(size: tuple[int, int], resolution: int) -> Fitting:
    """The fitting of an image of `size` (width, height) to a square of `resolution` pixels."""
    width, height = size
    short = min(size)
    resized = (max(resolution, round(width * resolution / short)), max(resolution, round(height * resolution / short)))
    left, top = (resized[0] - resolution) // 2, (resized[1] - resolution) // 2
    return Fitting(original=size, resized=resized, crop=(left, top, left + resolution, top + resolution))


def fit_image(image: Image.Image, fitting: Fitting) -> Image.Image:
    """The image resized with a Lanczos filter and cropped; unchanged if it fits already.

    Only the pixels inside the crop are computed, so that a very long image costs no more than a square one.
    """
    if fitting.resized == fitting.original and fitting.crop == (0, 0, *fitting.original):
        return image
    left, top, right, bottom = fitting.crop
    across, down = (fitting.original[i] / fitting.resized[i] for i in (0, 1))
    box = (left * across, top * down, right * across, bottom * down)
    return image.resize((right - left, bottom - top), Image.Resampling.LANCZOS, box=box)


def fit_labels(labels: npt.NDArray[T], fitting: Fitting) -> npt.NDArray[T]:
    """A mask or depth (height, width) fitted like its image; each pixel is a copy of the nearest one, never a blend."""
    left, top, right, bottom = fitting.crop
    columns = _nearest(left, right, fitting.original[0], fitting.resized[0])
    rows = _nearest(top, bottom, fitting.original[1], fitting.resized[1])
    return np.ascontiguousarray(labels[np.ix_(rows, columns)])


def fit_points(points: npt.NDArray[np.float64], fitting: Fitting) -> npt.NDArray[np.float64]:
    """Keypoints (P, 3) moved with the image's pixels; those that the crop leaves out become 0, 0, 0.

    Of those that stay, x and y are at least 0 and less than the resolution, also as float32.
    """
    left, top, right, bottom = fitting.crop
    scale = np.divide(fitting.resized, fitting.original)
    places = points[:, :2] * scale - (left, top)
    side = (right - left, bottom - top)
    inside = ((places >= 0) & (places <= side)).all(axis=1) & (points[:, 2] > 0)
    # A point on the far border belongs to the last pixel.
    places = np.minimum(places, np.nextafter(np.array(side, np.float32), np.float32(0)))
    return np.where(inside[:, None], np.column_stack([places, points[:, 2]]), 0.0)


def _nearest(start: int, end: int, original: int, resized: int) -> npt.NDArray[np.intp]:
    """For each pixel from `start` to `end` of the resized axis, the original pixel that its centre lies in."""
    return (2 * np.arange(start, end) + 1) * original // (2 * resized)
