"""The look at a fit: each seed, its reconstruction, its labels and those predicted for the reconstruction."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.labels import ImageLabels
from service.label_schema import LabelSchema
from workers.label_drawing import attribute_words, label_cells
from workers.pictures import (
    ALARM,
    CAPTION_LINES,
    FAINT,
    INK,
    LEAST_WIDTH,
    cell,
    grid,
    legend,
    page,
    paragraph,
    side_by_side,
    stack,
)
from workers.typeface import extent

_PICTURES_A_ROW, _SIDE, _LETTERS, _GAP = 12, 128, 13, 24
_NARROW, _WIDE = 3 * _SIDE, 6 * _SIDE
"""Below the first width an inversion's quality has a line of its own; from the second on the attributes have none."""


@dataclass(frozen=True)
class SheetRow:
    """One seed on the sheet."""

    name: str
    seed: NDArray[np.uint8]
    """(H, W, 3)"""
    labels: ImageLabels
    reconstruction: NDArray[np.uint8]
    """(H, W, 3)"""
    predicted: ImageLabels
    psnr_db: float
    lpips: float
    excluded: bool


def sheet_png(rows: Sequence[SheetRow], schema: LabelSchema) -> bytes:
    """PNG bytes of all seeds with the quality of their inversion; seeds left out of the fit are marked in red."""
    entries = [_entry(row, schema) for row in rows]
    pictures = max(1, round(entries[0].width / _SIDE))
    board = grid(entries, max(1, _PICTURES_A_ROW // pictures), gap=14)
    title = f"{len(rows)} seeds and what the generator and the labeler make of them"
    if len(rows) == 1:
        title = "The seed and what the generator and the labeler make of it"
    note = "seed and reconstruction"
    if pictures > 2:
        note = (
            "from left to right: seed, reconstruction, the seed's labels, the labels predicted for the reconstruction"
        )
    parts = [board, legend(schema.classes, max(board.width, LEAST_WIDTH))] if schema.classes else [board]
    buffer = io.BytesIO()
    page(title, note, parts).save(buffer, "PNG")
    return buffer.getvalue()


def _entry(row: SheetRow, schema: LabelSchema) -> Image.Image:
    pictures = side_by_side(
        [
            cell(row.seed, _SIDE),
            cell(row.reconstruction, _SIDE),
            *label_cells(row.seed, row.labels, schema, _SIDE, plain=False),
            *label_cells(row.reconstruction, row.predicted, schema, _SIDE, plain=False),
        ]
    )
    width, color = pictures.width, FAINT
    quality = f"PSNR {row.psnr_db:.1f} dB · LPIPS {row.lpips:.3f}"
    if row.excluded:
        color = ALARM
        ImageDraw.Draw(pictures).rectangle((0, 0, width - 1, pictures.height - 1), outline=color, width=3)
        quality += " · left out" if width < _NARROW else " · left out of the fit"
    words = _words(row, schema)
    if width < _NARROW:
        told = [_caption(row.name, width), _caption(words, width), _caption(quality, width, color)]
        return stack([pictures, *(told if words else told[::2])])
    at_end = _caption(quality, ceil(extent(quality, _LETTERS)), color)
    at_start = f"{row.name}: {words}" if words and width >= _WIDE else row.name
    line = side_by_side([_caption(at_start, width - _GAP - at_end.width), at_end], _GAP)
    return stack([pictures, line, _caption(words, width)] if words and width < _WIDE else [pictures, line])


def _caption(text: str, width: int, color: tuple[int, int, int] = INK) -> Image.Image:
    return paragraph(text, width, color, _LETTERS, CAPTION_LINES)


def _words(row: SheetRow, schema: LabelSchema) -> str:
    """The attributes of a seed, and what was predicted where that is something else."""
    if row.labels.attributes is None or row.predicted.attributes is None:
        return ""
    own = attribute_words(row.labels.attributes.tolist(), schema) or "not known"
    predicted = attribute_words(row.predicted.attributes.tolist(), schema)
    return own if own == predicted else f"{own}, predicted: {predicted}"
