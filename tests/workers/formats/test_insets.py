"""Outlines that are drawn in, painted by OpenCV: what comes out is the region."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from workers.formats.insets import drawn_in
from workers.formats.regions import regions

HAIR = 0.01
"""Of a pixel."""


def painted(codes: npt.NDArray[np.int32], shape: tuple[int, ...], scale: int) -> npt.NDArray[np.bool_]:
    """The pixels that `fillPoly` paints of an outline at `scale` times the size of the mask."""
    corners = (codes >> 1) + np.where(codes & 1, HAIR, -HAIR)
    canvas = np.zeros((shape[0] * scale, shape[1] * scale), np.uint8)
    cv2.fillPoly(canvas, [(corners * scale).astype(np.int32)], 1)
    return canvas.astype(bool)


MASKS = {
    "a pixel": ["#"],
    "a line": ["....", ".##.", "...."],
    "all": ["##", "##"],
    "a corner": ["##.", "#..", "..."],
    "a hole": ["###", "#.#", "###"],
    "touching": ["#..", ".#.", "..#"],
    "touching the other way": ["..#", ".#.", "#.."],
    "a hole that touches": ["##.", "#.#", "###"],
    "two regions of a class": ["#.#", "#.#", "#.#"],
}


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("name", MASKS)
def test_what_is_painted_is_the_region(name: str, scale: int) -> None:
    mask = np.array([[pixel == "#" for pixel in row] for row in MASKS[name]], np.uint8)
    found = regions(mask, [1])
    together = np.zeros((mask.shape[0] * scale, mask.shape[1] * scale), np.int64)
    for codes in drawn_in(mask, found):
        together += painted(codes, mask.shape, scale)
    expected = mask.repeat(scale, axis=0).repeat(scale, axis=1)
    # Where pixels touch at a corner, the line between them may take in a pixel of the larger picture beside it.
    assert (together != expected).sum() <= (0 if scale == 1 or "touch" not in name else 2)


def test_corners_stay_in_order_and_in_the_image() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        mask = random.integers(0, 3, (7, 9)).astype(np.uint8)
        found = regions(mask, [1, 2])
        outlines = drawn_in(mask, found)
        for region, codes in zip(found, outlines, strict=True):
            assert len(codes) >= len(region.outline)
            assert (codes[0] >> 1 == region.outline[0]).all()
            assert codes.min() >= 1  # from 0 to the right or down
            assert (codes.max(axis=0) <= [2 * 9, 2 * 7]).all()


def test_without_regions_there_are_no_outlines() -> None:
    assert drawn_in(np.zeros((4, 4), np.uint8), []) == []
