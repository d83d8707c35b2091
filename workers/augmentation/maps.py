"""Maps of the plane, each both ways: from the changed image back to the one before, and forth.

Places are in pixels from the image's top left corner, the centre of the first pixel at (0.5, 0.5). `pull` takes x and y
that broadcast against each other, so that a map that keeps columns and rows apart works on a row and a column only.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Grid = tuple[NDArray[np.float32], NDArray[np.float32]]
Pixel = TypeVar("Pixel", np.uint8, np.float32)

_CLOSE_PX = 1e-3
"""A place that moves by less is found. With `STEEPEST` the error left is at most three times that."""

_MOST_ROUNDS = 100

STEEPEST = 0.75
"""Most that a displacement may change from a place to one a pixel away. Below 1 nothing folds, and searching for the
place that was displaced to a given one comes closer by this factor each round."""


class Map(Protocol):
    """A map of the plane that can be inverted."""

    def pull(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Where in the image before the changed image's (x, y) comes from."""

    def push(self, places: Floats) -> Floats:
        """Where in the changed image places (N, 2) of the image before have gone."""


@dataclass(frozen=True)
class Affine:
    """matrix: float64 (2, 3), from (x, y, 1) in the changed image to the image before."""

    matrix: Floats

    def pull(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """See `Map`."""
        (a, b, c), (d, e, f) = self.matrix
        return (a * x + c if b == 0 else a * x + (b * y + c)), (e * y + f if d == 0 else e * y + (d * x + f))

    def push(self, places: Floats) -> Floats:
        """See `Map`."""
        (a, b, c), (d, e, f) = self.matrix
        x, y = places[:, 0] - c, places[:, 1] - f
        found: Floats = np.stack([e * x - b * y, a * y - d * x], axis=1) / (a * e - b * d)
        return found


@dataclass(frozen=True)
class Bends:
    """Columns and rows stretched apart from each other: straight between knots, which rise strictly.

    x, y: float64 (2, knots), places in the changed image over places in the image before. First and last knot lie on
    the image's edges in both.
    """

    x: Floats
    y: Floats

    def pull(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """See `Map`."""
        return _bent(x, self.x[0], self.x[1]), _bent(y, self.y[0], self.y[1])

    def push(self, places: Floats) -> Floats:
        """See `Map`."""
        x, y = places.T
        return np.stack([_bent(x, self.x[1], self.x[0]), _bent(y, self.y[1], self.y[0])], axis=1)


def _bent(places: Floats, start: Floats, end: Floats) -> Floats:
    return np.array(np.interp(places, start, end), dtype=np.float64, copy=None)


@dataclass(frozen=True)
class Displacement:
    """A field of how far to look from each pixel: bilinear between pixel centres, constant beyond them.

    field: float32 (2, H, W), x and y; from a pixel to the next it changes by at most `STEEPEST`.
    """

    field: NDArray[np.float32]

    def pull(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """See `Map`."""
        places = grid(x, y)
        # One by one: OpenCV rounds places to 1/32 pixel for two channels, and does not for one, three or four.
        return x + sample(self.field[0], places), y + sample(self.field[1], places)

    def push(self, places: Floats) -> Floats:
        """See `Map`. Found by iteration, within a few thousandths of a pixel."""
        found = places
        for _ in range(_MOST_ROUNDS if len(places) else 0):
            x, y = self.pull(found[:, :1], found[:, 1:])
            missed = places - np.concatenate([x, y], axis=1)
            found = found + missed
            if np.abs(missed).max() < _CLOSE_PX:
                break
        return found


def grid(x: Floats, y: Floats) -> Grid:
    """Places x and y that broadcast to (H, W), as `sample` takes them: float32 (H, W), first pixel centre at (0, 0)."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    columns, rows = np.empty(shape, np.float32), np.empty(shape, np.float32)
    np.subtract(x, 0.5, out=columns, casting="same_kind")
    np.subtract(y, 0.5, out=rows, casting="same_kind")
    return columns, rows


def sample(image: NDArray[Pixel], places: Grid) -> NDArray[Pixel]:
    """`image` (h, w) or (h, w, 3) at places from `grid`: bilinear to float32's precision, (H, W) or (H, W, 3).

    What lies beyond the outermost pixel centres is as it is there.
    """
    return cv2.remap(image, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]
