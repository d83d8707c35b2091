"""How a training went, at a glance: samples of the same latents, one row a snapshot."""

import io
from pathlib import Path

from PIL import Image

_ROWS = 8
_WIDEST = 1536


def progression(sheets: list[Path], resolution: int) -> bytes:
    """PNG with the first row of samples of up to eight of the sheets, spread evenly from the first to the last."""
    last = len(sheets) - 1
    chosen = sorted({round(last * row / max(1, min(_ROWS, len(sheets)) - 1)) for row in range(_ROWS)})
    rows = [_first_row(sheets[index], resolution) for index in chosen if index <= last]
    width, height = rows[0].size
    picture = Image.new("RGB", (width, height * len(rows)), "white")
    for place, row in enumerate(rows):
        picture.paste(row, (0, place * height))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _first_row(sheet: Path, resolution: int) -> Image.Image:
    with Image.open(sheet, formats=("PNG",)) as file:
        row = file.convert("RGB").crop((0, 0, file.width, resolution))
    scale = min(1.0, _WIDEST / row.width)
    return row.resize((round(row.width * scale), round(row.height * scale)), Image.Resampling.BOX)
