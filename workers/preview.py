"""The first look at a dataset: samples beside their labels, and what the colours mean."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.label_schema import LabelClass
from workers.pictures import cell, grid, legend, overlay, page, side_by_side

SAMPLES = 20
"""How many samples a preview shows."""

_COLUMNS, _SIDE = 4, 192


def preview_png(
    samples: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]], classes: Sequence[LabelClass], title: str
) -> bytes:
    """PNG bytes of a grid of samples: image, (H, W, 3), and class indices, (H, W), shown side by side."""
    pairs = [side_by_side([cell(image, _SIDE), overlay(image, mask, classes, _SIDE)]) for image, mask in samples]
    board = grid(pairs, _COLUMNS)
    note = f"the first {len(pairs)} samples, each beside its label" if len(pairs) > 1 else "the sample beside its label"
    sheet = page(title, note, [board, legend(classes, board.width)])
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
