"""The connected regions of a mask, with their outlines and boxes."""

from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from workers.formats.tracing import trace_regions

SMALLEST_REGION = 4
"""Pixels; formats that list objects one by one leave out what is smaller, which is mostly noise of the labeler."""

Outline = npt.NDArray[np.int32]


class Region(NamedTuple):
    """Pixels of one class that touch each other, if only at a corner."""

    value: int
    """The class."""
    outline: Outline
    """(N, 2), x and y of the corners of its border, which runs between pixels; from the topmost corner, of those the
    leftmost one, downwards. A hole is part of it: a seam leads there and back along the same line. By the even-odd rule
    it encloses exactly the region's pixels."""
    pixels: int
    box: tuple[int, int, int, int]
    """left, top, right, bottom: right and bottom lie behind the last pixel."""


def regions(mask: npt.NDArray[np.uint8], values: Iterable[int]) -> list[Region]:
    """The regions of these classes in a mask, (H, W): class by class as `values` has them, and those of a class by the
    first corner of their outlines, from the top row by row."""
    order = {value: place for place, value in enumerate(dict.fromkeys(values))}
    traced = trace_regions(mask, order)
    if traced is None:
        return _regions_by_opencv(mask, order)
    points, table = traced
    found = [
        Region(value, points[first : first + count], pixels, (left, top, right, bottom))
        for value, first, count, pixels, left, top, right, bottom in table.tolist()
    ]
    return sorted(found, key=lambda region: order[region.value])


def _regions_by_opencv(mask: npt.NDArray[np.uint8], values: Iterable[int]) -> list[Region]:
    contours: list[npt.NDArray[np.int32]] = []
    offsets: list[tuple[int, int]] = []
    owners: list[tuple[int, int]] = []  # class, and the place of the contour that this one is a hole of, or -1
    doubled = _doubled(mask)
    for value in values:
        found, place = _contours(mask, doubled, value)
        if found:
            tree = place[2]
            owners += [(value, parent + len(contours) if parent >= 0 else -1) for parent in tree]
            offsets += [place[:2]] * len(found)
            contours += found
    return _traced(contours, offsets, owners) if contours else []


def _doubled(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Every pixel twice in each direction."""
    twice_as_wide = np.multiply(mask, 0x0101, dtype=np.uint16, order="C").view(np.uint8)
    return np.repeat(twice_as_wide, 2, axis=0)


def _contours(
    mask: npt.NDArray[np.uint8], doubled: npt.NDArray[np.uint8], value: int
) -> tuple[list[npt.NDArray[np.int32]], tuple[int, int, list[int]]]:
    """Contours of a class through the middles of doubled pixels; left and top of where they are; their parents."""
    left, top, width, height = cv2.boundingRect((mask == value).view(np.uint8))
    if not width:
        return [], (0, 0, [])
    part = doubled[2 * top : 2 * (top + height), 2 * left : 2 * (left + width)] == value
    found, tree = cv2.findContours(part.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return list(found), (left, top, tree[0, :, 3].tolist())


def _traced(
    contours: list[npt.NDArray[np.int32]], offsets: list[tuple[int, int]], owners: list[tuple[int, int]]
) -> list[Region]:
    outlines, areas, boxes = _corners(contours, np.array(offsets, np.int32))
    holes: dict[int, list[int]] = {}
    for place, (_, parent) in enumerate(owners):
        if parent >= 0:
            holes.setdefault(parent, []).append(place)
    traced: dict[int, list[Region]] = {}
    for place, (value, parent) in enumerate(owners):
        if parent < 0:
            inside = holes.get(place, [])
            outline = _joined(outlines[place], [outlines[hole] for hole in inside])
            pixels = areas[place] - sum(areas[hole] for hole in inside)
            left, top, right, bottom = boxes[place]
            traced.setdefault(value, []).append(Region(value, outline, pixels, (left, top, right, bottom)))
    return [region for of_class in traced.values() for region in sorted(of_class, key=lambda r: _start(r.outline))]


def _corners(
    contours: list[npt.NDArray[np.int32]], offsets: npt.NDArray[np.int32]
) -> tuple[list[Outline], list[int], list[list[int]]]:
    """Outline, area in pixels and box of each contour.

    With every pixel doubled, each point of a contour lies in that quarter of a pixel which is next to the corner where
    the border turns. All contours are worked on at once: there are many small ones.
    """
    lengths = [len(contour) for contour in contours]
    points = (np.concatenate(contours)[:, 0] + 1) >> 1
    points += np.repeat(offsets, lengths, axis=0)
    starts, before = _neighbours(lengths)
    both = points.view(np.int64)[:, 0]  # x and y in one number
    turns = both != both[before]
    points, lengths = points[turns], np.add.reduceat(turns, starts, dtype=np.int64).tolist()
    starts, before = _neighbours(lengths)
    x, y = points.astype(np.int64).T
    areas = np.abs(np.add.reduceat(x * y[before] - y * x[before], starts)) // 2
    boxes = np.concatenate([np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)], axis=1)
    ends = starts + lengths
    outlines = [_from_start(points[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return outlines, areas.tolist(), boxes.tolist()


def _from_start(outline: Outline) -> Outline:
    """The same, from the topmost corner on, of those the leftmost one."""
    start = int(np.lexsort((outline[:, 0], outline[:, 1]))[0])
    return np.concatenate([outline[start:], outline[:start]])


def _start(outline: Outline) -> tuple[int, int]:
    """Its first corner, by which outlines are in order: y and x."""
    x, y = outline[0].tolist()
    return y, x


def _neighbours(lengths: list[int]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where runs of these lengths start, and the place before each place, round and round in its own run."""
    ends = np.fromiter(accumulate(lengths), np.intp, len(lengths))
    starts = ends - lengths
    before = np.arange(-1, ends[-1] - 1)
    before[starts] = ends - 1
    return starts, before


def _joined(outline: Outline, holes: list[Outline]) -> Outline:
    """One outline of all, by a seam from each hole to the corner of `outline` that is nearest to it."""
    if not holes:
        return outline
    holes = sorted(holes, key=_start)
    places = [int(np.abs(outline - hole[0]).sum(axis=1).argmin()) for hole in holes]
    pieces, last = [], 0
    for place, hole in sorted(zip(places, holes, strict=True), key=lambda pair: pair[0]):
        pieces += [outline[last : place + 1], hole, hole[:1]]
        last = place
    return np.concatenate([*pieces, outline[last:]])
