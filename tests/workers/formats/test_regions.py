"""Outlines and run lengths of any mask are exact: compared with pixels counted one by one, and with pycocotools."""

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco_mask
from scipy import ndimage

from workers.formats.regions import regions
from workers.formats.runs import encode_classes

Mask = npt.NDArray[np.uint8]


def masks() -> list[Mask]:
    random = np.random.default_rng(5)
    noise = [random.integers(0, classes, (17, 23)).astype(np.uint8) for classes in (2, 3, 6)]
    blobs = [(ndimage.gaussian_filter(random.normal(size=(48, 40)), 2) > limit).astype(np.uint8) for limit in (0, 0.1)]
    rings = np.zeros((30, 30), np.uint8)
    for value, (first, last) in enumerate([(1, 29), (3, 27), (6, 24), (9, 21), (12, 18)]):
        rings[first:last, first:last] = value % 2
    full, single = np.ones((5, 9), np.uint8), np.zeros((6, 6), np.uint8)
    single[0, 5] = 1
    return [*noise, *blobs, rings, full, single]


def enclosed(corners: npt.NDArray[np.int32], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Pixels inside by the even-odd rule. Borders run between pixels: only upright ones are crossed on the way left."""
    inside = np.zeros(shape, bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = slice(min(y1, y2), max(y1, y2))
        if x1 == x2:
            inside[rows, x1:] ^= True
        elif y1 != y2:  # a slanted seam, there and back
            for row in range(rows.start, rows.stop):
                inside[row, int(np.ceil(x1 + (row + 0.5 - y1) * (x2 - x1) / (y2 - y1) - 0.5)) :] ^= True
    return inside


@pytest.mark.parametrize("mask", masks())
def test_regions_are_the_connected_ones(mask: Mask) -> None:
    for value in np.unique(mask).tolist():
        numbered, count = ndimage.label(mask == value, structure=np.ones((3, 3)))
        found = regions(mask, [value])
        assert len(found) == count
        numbers = set()
        for region in found:
            inside = enclosed(region.outline, mask.shape)
            [number] = np.unique(numbered[inside])
            assert (inside == (numbered == number)).all()
            rows, columns = np.nonzero(inside)
            assert region.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert (region.pixels, region.value) == (inside.sum(), value)
            numbers.add(number)
        assert len(numbers) == count


def test_classes_are_traced_together_as_they_are_alone() -> None:
    [_, _, mask, *_] = masks()
    together = regions(mask, [4, 1, 9, 2])
    alone = [region for value in (4, 1, 9, 2) for region in regions(mask, [value])]
    assert [region.value for region in together] == [region.value for region in alone]
    for one, other in zip(together, alone, strict=True):
        assert (one.outline == other.outline).all()
        assert (one.box, one.pixels) == (other.box, other.pixels)


def test_a_mask_without_the_class_has_no_regions() -> None:
    assert regions(np.zeros((4, 4), np.uint8), [1, 2]) == []


@pytest.mark.parametrize("mask", masks())
def test_run_lengths_are_those_of_pycocotools(mask: Mask) -> None:
    found = encode_classes(mask, range(256))
    assert sorted(found) == np.unique(mask).tolist()
    for value, rle in found.items():
        assert rle == coco_mask.encode(np.asfortranarray(mask == value).view(np.uint8))
