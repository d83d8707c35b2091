"""Masks as run lengths, as COCO has them."""

from collections.abc import Collection
from typing import TypedDict

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from workers.formats.tracing import run_lengths


class Rle(TypedDict):
    """Compressed run lengths of a binary mask, column by column."""

    size: list[int]
    """height, width"""
    counts: bytes


def encode_classes(mask: npt.NDArray[np.uint8], values: Collection[int]) -> dict[int, Rle]:
    """Where those of `values` that a mask, (H, W), has are: value → run lengths, by rising value.

    One pass over the pixels serves all values.
    """
    counts = run_lengths(mask, values)
    if counts is None:
        return _encoded_by_pycocotools(mask, values)
    height, width = mask.shape
    return {value: {"size": [height, width], "counts": of_class} for value, of_class in counts.items()}


def _encoded_by_pycocotools(mask: npt.NDArray[np.uint8], values: Collection[int]) -> dict[int, Rle]:
    pixels = cv2.transpose(mask).ravel()
    turns = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    starts = np.concatenate([[0], turns])
    spans = np.stack([starts, np.concatenate([turns, [pixels.size]])], axis=1)
    order = pixels[starts].argsort(kind="stable")
    owners = pixels[starts[order]]
    first = np.concatenate([[0], np.flatnonzero(owners[1:] != owners[:-1]) + 1])
    counts = _counts(spans[order], first, pixels.size)
    found = {value: part for value, part in zip(owners[first].tolist(), counts, strict=True) if value in values}
    size = list(mask.shape)
    rows = [{"size": size, "counts": part} for part in found.values()]
    return dict(zip(found, coco_mask.frPyObjects(rows, *size), strict=True)) if rows else {}


def _counts(spans: npt.NDArray[np.intp], first: npt.NDArray[np.intp], pixels: int) -> list[npt.NDArray[np.intp]]:
    """For each class, how many pixels are outside, inside, outside … of its spans.

    `spans`, (N, 2), are of first pixels and those after the last, class by class; `first` is where each class begins.
    """
    # The borders of all classes in one row: 0, those of its spans and `pixels` for each.
    begins = 2 * (first + np.arange(len(first)))
    ends = np.append(begins[1:], 2 * (len(spans) + len(first)))
    borders = np.zeros(ends[-1], np.intp)
    inner = np.ones(len(borders), bool)
    inner[begins] = inner[ends - 1] = False
    borders[inner], borders[ends - 1] = spans.ravel(), pixels
    counts = borders[1:] - borders[:-1]
    # The last one of a class may be 0, if its last span reaches to the end.
    lasts = np.where(counts[ends - 2] > 0, ends - 1, ends - 2)
    return [counts[begin:last] for begin, last in zip(begins.tolist(), lasts.tolist(), strict=True)]
