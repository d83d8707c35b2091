"""The look at a fit: each seed, its reconstruction, its label and the label predicted for the reconstruction."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.label_schema import LabelClass
from workers.pictures import ALARM, FAINT, INK, cell, font, grid, legend, overlay, page, side_by_side

_COLUMNS, _SIDE, _CAPTION = 3, 128, 22


@dataclass(frozen=True)
class SheetRow:
    """One seed on the sheet."""

    name: str
    seed: NDArray[np.uint8]
    """(H, W, 3)"""
    label: NDArray[np.uint8]
    """(H, W), class indices"""
    reconstruction: NDArray[np.uint8]
    """(H, W, 3)"""
    predicted: NDArray[np.uint8]
    """(H, W), class indices"""
    psnr_db: float
    lpips: float
    excluded: bool


def sheet_png(rows: Sequence[SheetRow], classes: Sequence[LabelClass], title: str) -> bytes:
    """PNG bytes of all seeds with the quality of their inversion; seeds left out of the fit are marked in red."""
    board = grid([_entry(row, classes) for row in rows], _COLUMNS, gap=14)
    note = "from left to right: seed, reconstruction, the seed's label, the label predicted for the reconstruction"
    sheet = page(title, note, [board, legend(classes, max(board.width, 480))])
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _entry(row: SheetRow, classes: Sequence[LabelClass]) -> Image.Image:
    pictures = side_by_side(
        [
            cell(row.seed, _SIDE),
            cell(row.reconstruction, _SIDE),
            overlay(row.seed, row.label, classes, _SIDE),
            overlay(row.reconstruction, row.predicted, classes, _SIDE),
        ]
    )
    entry = Image.new("RGB", (pictures.width, pictures.height + _CAPTION), "white")
    entry.paste(pictures, (0, 0))
    draw = ImageDraw.Draw(entry)
    baseline = pictures.height + _CAPTION // 2
    quality = f"PSNR {row.psnr_db:.1f} dB · LPIPS {row.lpips:.3f}"
    if row.excluded:
        draw.rectangle((0, 0, pictures.width - 1, pictures.height - 1), outline=ALARM, width=3)
        quality += " · left out of the fit"
    name = row.name if len(row.name) <= 24 else row.name[:23] + "…"
    draw.text((2, baseline), name, INK, font(13), anchor="lm")
    draw.text((entry.width - 2, baseline), quality, ALARM if row.excluded else FAINT, font(13), anchor="rm")
    return entry
