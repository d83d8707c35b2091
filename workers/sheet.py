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
from workers.pictures import ALARM, FAINT, INK, cell, font, grid, legend, page, side_by_side

_PICTURES_A_ROW, _SIDE, _CAPTION = 12, 128, 22


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
    note = "from left to right: seed, reconstruction, the seed's labels, the labels predicted for the reconstruction"
    if schema.attributes:
        note += "; in words: the seed's, and the predicted ones where they differ"
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
    words = _words(row, schema)
    lines = 3 if words else 2 if pictures.width < 3 * _SIDE else 1
    entry = Image.new("RGB", (pictures.width, pictures.height + lines * _CAPTION), "white")
    entry.paste(pictures, (0, 0))
    draw = ImageDraw.Draw(entry)
    first, last = (pictures.height + _CAPTION // 2 + line * _CAPTION for line in (0, min(lines, 2) - 1))
    quality = f"PSNR {row.psnr_db:.1f} dB · LPIPS {row.lpips:.3f}"
    if row.excluded:
        draw.rectangle((0, 0, pictures.width - 1, pictures.height - 1), outline=ALARM, width=3)
        quality += " · left out of the fit"
    name = row.name if len(row.name) <= 24 else row.name[:23] + "…"
    draw.text((2, first), name, INK, font(13), anchor="lm")
    draw.text((entry.width - 2, last), quality, ALARM if row.excluded else FAINT, font(13), anchor="rm")
    if words:
        draw.text((2, entry.height - _CAPTION // 2), words, INK, font(13), anchor="lm")
    return entry


def _words(row: SheetRow, schema: LabelSchema) -> str:
    """The attributes of a seed, and what was predicted where that is something else."""
    if row.labels.attributes is None or row.predicted.attributes is None:
        return ""
    own = attribute_words(row.labels.attributes.tolist(), schema) or "not known"
    predicted = attribute_words(row.predicted.attributes.tolist(), schema)
    return own if own == predicted else f"{own} → {predicted}"
