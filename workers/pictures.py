"""What the pictures for people are put together from: cells, label overlays, captions and a legend."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.label_schema import LabelClass
from workers.typeface import extent, write

PAPER = (255, 255, 255)
INK = (32, 33, 36)
FAINT = (110, 113, 118)
ALARM = (200, 30, 30)

_LABEL_STRENGTH = 0.6
"""Share of the class colour in an overlay; the rest is the image beneath."""


def cell(image: NDArray[np.uint8], side: int) -> Image.Image:
    """An image, (H, W, 3) uint8, at about `side` pixels: small ones enlarged in whole steps, large ones reduced."""
    return _fit(Image.fromarray(image, "RGB"), side, Image.Resampling.LANCZOS)


def overlay(image: NDArray[np.uint8], mask: NDArray[np.uint8], classes: Sequence[LabelClass], side: int) -> Image.Image:
    """The image, (H, W, 3), in grey, tinted with the colours of its class indices, (H, W); a line parts the classes.

    Over grey, a colour is that of the legend; over a coloured image it would be a third one.
    """
    colors = np.zeros((256, 3), np.uint8)
    for index, entry in enumerate(classes):
        colors[index] = list(bytes.fromhex(entry.color[1:]))
    indices = np.asarray(_fit(Image.fromarray(mask, "L"), side, Image.Resampling.NEAREST))
    beneath = np.asarray(cell(image, side).convert("L"), np.float32)[..., None]
    tinted = _LABEL_STRENGTH * colors[indices] + (1 - _LABEL_STRENGTH) * beneath
    border = np.zeros(indices.shape, bool)
    border[1:] |= indices[1:] != indices[:-1]
    border[:, 1:] |= indices[:, 1:] != indices[:, :-1]
    tinted[border] *= 0.45
    return Image.fromarray(tinted.round().astype(np.uint8), "RGB")


def side_by_side(pictures: Sequence[Image.Image], gap: int = 2) -> Image.Image:
    """Pictures of one height in a row."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), PAPER)
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def grid(pictures: Sequence[Image.Image], columns: int, gap: int = 10) -> Image.Image:
    """Pictures of one size in rows of `columns`, on white."""
    width, height = pictures[0].size
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), PAPER)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        sheet.paste(picture, (column * (width + gap), row * (height + gap)))
    return sheet


def legend(classes: Sequence[LabelClass], width: int, size: int = 16) -> Image.Image:
    """A swatch and a name for each class, in as many lines as `width` asks for."""
    swatch, pad, line = size + 2, 8, size + 12
    places: list[tuple[int, int]] = []
    left = top = 0
    for entry in classes:
        room = swatch + pad + int(extent(entry.name, size)) + 2 * pad
        if left and left + room > width:
            left, top = 0, top + line
        places.append((left, top))
        left += room
    picture = Image.new("RGB", (width, top + line), PAPER)
    draw = ImageDraw.Draw(picture)
    for entry, (x, y) in zip(classes, places, strict=True):
        draw.rectangle((x, y, x + swatch, y + swatch), fill=entry.color, outline=INK)
        write(draw, (x + swatch + pad, y + swatch // 2), entry.name, INK, size, anchor="lm")
    return picture


def page(title: str, note: str, parts: Sequence[Image.Image], margin: int = 16) -> Image.Image:
    """A titled sheet: the parts one below the other."""
    width = max(part.width for part in parts) + 2 * margin
    height = margin + 56 + sum(part.height + margin for part in parts)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, (margin, margin), title, INK, 20)
    write(draw, (margin, margin + 28), note, FAINT, 14)
    top = margin + 56
    for part in parts:
        sheet.paste(part, (margin, top))
        top += part.height + margin
    return sheet


def _fit(picture: Image.Image, side: int, reduce_with: Image.Resampling) -> Image.Image:
    largest = max(picture.size)
    if largest > side:
        factor = side / largest
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        return picture.resize(size, reduce_with)
    steps = max(1, side // largest)
    return picture.resize((picture.width * steps, picture.height * steps), Image.Resampling.NEAREST)
