"""The look at a fit: each seed, its reconstruction, its labels and those predicted for the reconstruction."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.labels import ImageLabels
from service.label_schema import LabelSchema
from workers.label_drawing import attribute_words, label_cells
from workers.pictures import ALARM, FAINT, INK, cell, grid, legend, page, side_by_side
from workers.typeface import write

_PICTURES_A_ROW, _SIDE, _CAPTION = 12, 128, 22
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


def sheet_png(rows: Sequence[SheetRow], schema: LabelSchema, title: str) -> bytes:
    """PNG bytes of all seeds with the quality of their inversion; seeds left out of the fit are marked in red."""
    entries = [_entry(row, schema) for row in rows]
    pictures = max(1, round(entries[0].width / _SIDE))
    board = grid(entries, max(1, _PICTURES_A_ROW // pictures), gap=14)
    note = "seed and reconstruction"
    if pictures > 2:
        note = (
            "from left to right: seed, reconstruction, the seed's labels, the labels predicted for the reconstruction"
        )
    parts = [board, legend(schema.classes, max(board.width, 480))] if schema.classes else [board]
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
    quality = f"PSNR {row.psnr_db:.1f} dB · LPIPS {row.lpips:.3f}"
    if row.excluded:
        quality += " · left out" if pictures.width < _NARROW else " · left out of the fit"
    name = row.name if len(row.name) <= 24 else row.name[:23] + "…"
    left, words = [name], _words(row, schema)
    if words and pictures.width >= _WIDE:
        left = [f"{name}: {words}"]
    elif words:
        left.append(words)
    lines = len(left) + (pictures.width < _NARROW)
    entry = Image.new("RGB", (pictures.width, pictures.height + lines * _CAPTION), "white")
    entry.paste(pictures, (0, 0))
    draw = ImageDraw.Draw(entry)
    if row.excluded:
        draw.rectangle((0, 0, pictures.width - 1, pictures.height - 1), outline=ALARM, width=3)
    middles = [pictures.height + _CAPTION // 2 + line * _CAPTION for line in range(lines)]
    for text, middle in zip(left, middles, strict=False):
        write(draw, (2, middle), text, INK, 13, anchor="lm")
    beside = middles[-1] if pictures.width < _NARROW else middles[0]
    write(draw, (entry.width - 2, beside), quality, ALARM if row.excluded else FAINT, 13, anchor="rm")
    return entry


def _words(row: SheetRow, schema: LabelSchema) -> str:
    """The attributes of a seed, and what was predicted where that is something else."""
    if row.labels.attributes is None or row.predicted.attributes is None:
        return ""
    own = attribute_words(row.labels.attributes.tolist(), schema) or "not known"
    predicted = attribute_words(row.predicted.attributes.tolist(), schema)
    return own if own == predicted else f"{own}, predicted: {predicted}"
