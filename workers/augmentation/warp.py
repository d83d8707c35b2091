"""Moving an image and all its labels by the same maps, whatever their number, in one go."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.labels import ImageLabels, LabelMirror
from service.augmentation import Bordered, BorderMode
from service.label_schema import LabelSchema
from workers.augmentation.maps import Floats, Grid, grid, sample
from workers.augmentation.moves import Move
from workers.layout import mirror_of

Image = NDArray[np.uint8]


class Outside(NamedTuple):
    """Pixels (H, W) that show nothing of the image, and what they show instead.

    mirrored: whether later moves flip what is shown there an odd number of times.
    """

    pixels: NDArray[np.bool_]
    border: Bordered
    mirrored: bool


class Sources(NamedTuple):
    """Where each pixel of a moved image comes from.

    places: as from `grid`. nearest: intp (H, W), the pixel of the original, counted by rows. outside: what does not
    come from the original, to be painted over in this order. mirrored: whether left is right.
    """

    places: Grid
    nearest: NDArray[np.intp]
    outside: list[Outside]
    mirrored: bool


def warp(image: Image, labels: ImageLabels, moves: Sequence[Move], schema: LabelSchema) -> tuple[Image, ImageLabels]:
    """The image (H, W, 3) and its labels after `moves`, one after the other, read from the original only once.

    Images are bilinear, masks take the nearest pixel, keypoints go where the maps bring them, depth is bilinear between
    known pixels. Outside the image a mask is `fill_mask` and depth is not known. A keypoint that leaves the image is
    lost for good, as its pixels are.
    """
    if not moves:
        return image, labels
    height, width = image.shape[:2]
    sources = _sources(moves, height, width)
    mask, keypoints, depth = labels.mask, labels.keypoints, labels.depth
    mirror = mirror_of(schema)
    moved = ImageLabels(
        None if mask is None else _moved_mask(mask, sources, mirror),
        None if keypoints is None else _moved_points(keypoints, moves, height, width),
        None if depth is None else _moved_depth(depth, sources),
        labels.attributes,
    )
    if sources.mirrored:
        moved = ImageLabels(
            moved.mask,
            None if moved.keypoints is None else mirror.keypoints(moved.keypoints),
            moved.depth,
            None if moved.attributes is None else mirror.values(moved.attributes),
        )
    return _moved_image(image, sources), moved


def _sources(moves: Sequence[Move], height: int, width: int) -> Sources:
    """Follows each pixel back through the moves.

    An image that is already moved has an outside of its own, so each step's border says what lies there.
    """
    x, y = np.arange(0.5, width)[None, :], np.arange(0.5, height)[:, None]
    outside: list[Outside] = []
    mirrored = False
    for move in reversed(moves):
        x, y = move.map.pull(x, y)
        mirrored ^= move.mirrors
        if move.border is None:
            continue
        if move.border.border_mode is BorderMode.REFLECT_101:
            x, y = _reflected(x, width), _reflected(y, height)
        elif move.border.border_mode is BorderMode.CONSTANT:
            gone = (x < 0) | (x > width) | (y < 0) | (y > height)
            if gone.any():
                outside.append(Outside(gone, move.border, mirrored))
        x, y = x.clip(0, width), y.clip(0, height)
    nearest = _nearest(y, height) * width + _nearest(x, width)
    # What the last step shows outside, no step before it can change, so it is painted last.
    return Sources(grid(x, y), nearest, outside[::-1], mirrored)


def _reflected(places: Floats, length: int) -> Floats:
    """Places mirrored at the centres of the first and the last pixel until they are between the two."""
    last = length - 1
    return last - np.abs((places - 0.5) % (2 * last) - last) + 0.5


def _nearest(places: Floats, length: int) -> NDArray[np.intp]:
    return np.minimum(places.astype(np.intp), length - 1)


def _moved_image(image: Image, sources: Sources) -> Image:
    moved = sample(image, sources.places)
    for pixels, border, _ in sources.outside:
        np.copyto(moved, np.asarray(border.fill, np.uint8), where=pixels[..., None])
    return moved


def _moved_mask(mask: Image, sources: Sources, mirror: LabelMirror) -> Image:
    moved = mask.take(sources.nearest)
    if sources.mirrored:
        moved = mirror.masks(moved)
    for pixels, border, mirrored in sources.outside:
        # A flip exchanges the classes that it finds, not those that are painted after it.
        fill = np.array(border.fill_mask, np.uint8)
        np.copyto(moved, mirror.masks(fill) if mirrored else fill, where=pixels)
    return moved


def _moved_depth(depth: NDArray[np.float32], sources: Sources) -> NDArray[np.float32]:
    """Known where the nearest pixel is; there, the mean of those of its four neighbours that are known, as bilinear."""
    known = np.isfinite(depth)
    if known.all():
        moved = sample(depth, sources.places)
    else:
        weights = sample(known.astype(np.float32), sources.places)
        sums = sample(np.where(known, depth, np.float32(0)), sources.places)
        moved = np.full_like(depth, np.nan)
        np.divide(sums, weights, out=moved, where=known.take(sources.nearest))
    for pixels, _, _ in sources.outside:
        np.copyto(moved, np.float32(np.nan), where=pixels)
    return moved


def _moved_points(points: NDArray[np.float32], moves: Sequence[Move], height: int, width: int) -> NDArray[np.float32]:
    moved = np.zeros_like(points)
    there = np.flatnonzero(points[:, 2])
    places = points[there, :2].astype(np.float64)
    for move in moves:
        places = move.map.push(places)
        inside = ((places >= 0) & (places <= (width, height))).all(axis=1)
        there, places = there[inside], places[inside]
    moved[there, :2] = places
    moved[there, 2] = points[there, 2]
    return moved
