"""Outlines drawn in by a hair, for readers that cut off the fractions of corners and paint borders with insides.

The border of a region runs between pixels: on its right, at the number of the first pixel that is no longer in it. Who
draws with OpenCV's `fillPoly`, as Ultralytics does, paints that pixel, too, so that masks grow to the right and
downwards. Drawn in by less than a pixel, a border on the right is cut off to the last pixel inside, and one on the left
to the first, at every size that is a multiple of the mask's.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from workers.formats.regions import Region

_NEITHER = -1
"""A value that no pixel has, around the mask."""


def drawn_in(mask: npt.NDArray[np.uint8], found: Sequence[Region]) -> list[npt.NDArray[np.int32]]:
    """For each of these regions of a mask, (H, W), the corners of its outline, (N, 2), and which way each is to move.

    Both are in one number, for x as for y: twice the corner's place, and one more if it moves right or down; otherwise
    it moves left or up. Where two pixels of a region touch at a corner alone, the outline gets two for one.
    """
    if not found:
        return []
    padded = np.full((mask.shape[0] + 2, mask.shape[1] + 2), _NEITHER, np.int16)
    padded[1:-1, 1:-1] = mask
    lengths = [len(region.outline) for region in found]
    points = np.concatenate([region.outline for region in found])
    values = np.repeat(np.array([region.value for region in found], np.int16), lengths)
    x, y = points.T
    above_left, above_right = padded[y, x] == values, padded[y, x + 1] == values
    below_left, below_right = padded[y + 1, x] == values, padded[y + 1, x + 1] == values
    # Away from the pixels outside, of which there are one or three around most corners.
    right = (above_right & ~above_left) | (below_right & ~below_left)
    down = (below_left & ~above_left) | (below_right & ~above_right)
    touching = (above_left == below_right) & (above_right == below_left)
    # There the outline comes along one pixel and leaves along the other. None starts there: `roll` may pass over ends.
    before = np.roll(points, 1, axis=0)
    from_above = (before[:, 1] < y) | np.where(above_left, before[:, 0] < x, before[:, 0] > x)
    down = np.where(touching, ~from_above, down)
    right = np.where(touching, above_left ^ from_above, right)
    codes = 2 * points + np.stack([right, down], axis=1)
    places = np.flatnonzero(touching)
    codes = np.insert(codes, places + 1, codes[places] ^ 1, axis=0)
    ends = np.cumsum(lengths)
    ends += np.searchsorted(places, ends)
    return np.split(codes.astype(np.int32), ends[:-1].tolist())
