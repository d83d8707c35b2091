"""What the pictures for people are put together from: cells, label overlays, captions and a legend."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.label_schema import LabelClass
from workers.typeface import extent, wrapped, write

PAPER = (255, 255, 255)
INK = (32, 33, 36)
FAINT = (110, 113, 118)
ALARM = (200, 30, 30)

LEAST_WIDTH = 480
"""Pixels that a page has from left to right, margins not counted, however small its pictures: room for text."""

CAPTION_LINES = 4
"""A caption or a name in a legend that takes more lines is cut."""

_LEADING = 8
"""Pixels from one line of text to the next, beyond the size of the letters."""

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
    """Pictures in a row, on white, with their upper edges in line."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), PAPER)
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def stack(pictures: Sequence[Image.Image], gap: int = 0) -> Image.Image:
    """Pictures one below the other, on white."""
    height = sum(picture.height for picture in pictures) + gap * (len(pictures) - 1)
    column = Image.new("RGB", (max(picture.width for picture in pictures), height), PAPER)
    top = 0
    for picture in pictures:
        column.paste(picture, (0, top))
        top += picture.height + gap
    return column


def grid(pictures: Sequence[Image.Image], columns: int, gap: int = 10) -> Image.Image:
    """Pictures of one width in rows of `columns`, on white."""
    return stack(
        [side_by_side(pictures[first : first + columns], gap) for first in range(0, len(pictures), columns)], gap
    )


def paragraph(
    text: str, width: int, color: tuple[int, int, int] = INK, size: int = 14, most: int | None = None
) -> Image.Image:
    """A text in as many lines as `width` asks for, or at most so many."""
    return text_lines(wrapped(text, size, width, most), width, color, size)


def text_lines(lines: Sequence[str], width: int, color: tuple[int, int, int] = INK, size: int = 14) -> Image.Image:
    """Lines of text as they are; they have to fit into `width`."""
    line = size + _LEADING
    picture = Image.new("RGB", (width, line * len(lines)), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, text in enumerate(lines):
        write(draw, (0, line * number + line // 2), text, color, size, anchor="lm")
    return picture


def legend(classes: Sequence[LabelClass], width: int, size: int = 16) -> Image.Image:
    """A swatch and a name for each class, in as many lines as `width` asks for."""
    swatch, pad, line = size + 2, 8, size + 12
    places: list[tuple[int, int, list[str]]] = []
    left = top = 0
    below = line
    for entry in classes:
        name = wrapped(entry.name, size, width - swatch - pad, CAPTION_LINES)
        room = swatch + pad + int(max(extent(text, size) for text in name)) + 2 * pad
        if left and left + room > width:
            left, top = 0, below
        places.append((left, top, name))
        left += room
        below = max(below, top + line * len(name))
    picture = Image.new("RGB", (width, below), PAPER)
    draw = ImageDraw.Draw(picture)
    for entry, (x, y, name) in zip(classes, places, strict=True):
        draw.rectangle((x, y, x + swatch, y + swatch), fill=entry.color, outline=INK)
        for number, text in enumerate(name):
            write(draw, (x + swatch + pad, y + swatch // 2 + number * line), text, INK, size, anchor="lm")
    return picture


def page(title: str, note: str, parts: Sequence[Image.Image], margin: int = 16) -> Image.Image:
    """A titled sheet: the parts one below the other."""
    width = max(LEAST_WIDTH, *(part.width for part in parts))
    head = stack([paragraph(title, width, size=20), paragraph(note, width, FAINT)])
    body = stack([head, *parts], margin)
    sheet = Image.new("RGB", (width + 2 * margin, body.height + 2 * margin), PAPER)
    sheet.paste(body, (margin, margin))
    return sheet


def _fit(picture: Image.Image, side: int, reduce_with: Image.Resampling) -> Image.Image:
    largest = max(picture.size)
    if largest > side:
        factor = side / largest
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        return picture.resize(size, reduce_with)
    steps = max(1, side // largest)
    return picture.resize((picture.width * steps, picture.height * steps), Image.Resampling.NEAREST)
