"""Masks as run lengths, as COCO has them."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask


class Rle(TypedDict):
    """Compressed run lengths of a binary mask, column by column."""

    size: list[int]
    """height, width"""
    counts: bytes


def encode_classes(mask: npt.NDArray[np.uint8]) -> dict[int, Rle]:
    """Where each value of a mask, (H, W), is: value → run lengths. One pass over the pixels serves all values."""
    pixels = mask.T.ravel()
    turns = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    starts = np.concatenate([[0], turns])
    ends = np.concatenate([turns, [pixels.size]])
    values = pixels[starts]
    order = values.argsort(kind="stable")
    spans, values = np.stack([starts[order], ends[order]], axis=1), values[order]
    first = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    size = list(mask.shape)
    rows = [{"size": size, "counts": _counts(part, pixels.size)} for part in np.split(spans, first[1:])]
    return dict(zip(values[first].tolist(), coco_mask.frPyObjects(rows, *size), strict=True))


def _counts(spans: npt.NDArray[np.intp], pixels: int) -> list[int]:
    """How many pixels are outside, inside, outside … of the spans, (N, 2), of first pixels and those after the last."""
    borders = np.empty(2 * len(spans) + 2, np.intp)
    borders[0], borders[1:-1], borders[-1] = 0, spans.ravel(), pixels
    counts: list[int] = (borders[1:] - borders[:-1]).tolist()
    return counts if counts[-1] else counts[:-1]
