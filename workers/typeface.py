"""Text in pictures: one typeface for all of it, and ways to make it fit."""

import unicodedata
from bisect import bisect_right
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

from service.printed import printed

_FILE = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
"""It comes with the package, so that a picture looks the same on every machine. It has the letters of most alphabets,
but neither Chinese, Japanese and Korean characters nor most emoji."""

_IN_NO_TYPEFACE = "\uffff"


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    color: tuple[int, int, int],
    size: int,
    anchor: str = "la",
) -> None:
    """Write a line of text, as `readable` makes it, `size` pixels high; `anchor` is the point of it that lies at
    `place`, as Pillow names them."""
    draw.text(place, readable(text), color, _font(size), anchor=anchor)


def extent(text: str, size: int) -> float:
    """The width in pixels of a line of text that is written."""
    return _font(size).getlength(readable(text))


def readable(text: str) -> str:
    """`text` with its escape, such as `\\u732b`, for each character that the typeface lacks. It would draw all of them
    as one box; so, they can still be told apart, and looked up."""
    whole = unicodedata.normalize("NFC", printed(text))
    return "".join(c if _is_drawn(c) else c.encode("ascii", "backslashreplace").decode() for c in whole)


def fitted(text: str, size: int, width: float) -> str:
    """The text as `readable` makes it, or as much of its beginning as fits into `width` pixels, and `…`."""
    text = readable(text)
    if extent(text, size) <= width:
        return text
    kept = bisect_right(range(len(text)), width, key=lambda count: extent(f"{text[:count]}…", size)) - 1
    return f"{text[: max(kept, 0)].rstrip()}…"


def wrapped(text: str, size: int, width: float, most: int | None = None) -> list[str]:
    """The text as `readable` makes it, in one or more lines that fit into `width` pixels: cut at spaces, or within
    words that have no room on a line; and, with `…`, at the end of line number `most`."""
    lines: list[str] = []
    rest = readable(text).strip()
    while extent(rest, size) > width:
        if len(lines) + 1 == most:
            return [*lines, fitted(rest, size, width)]
        room = bisect_right(range(1, len(rest) + 1), width, key=lambda count: extent(rest[:count], size)) or 1
        end = rest.rfind(" ", 1, room + 1)
        end = room if end < 0 else end
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*lines, rest]


@cache
def _font(size: int, layout: ImageFont.Layout | None = None) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_FILE, size, layout_engine=layout)


def _is_drawn(character: str) -> bool:
    """Whether the typeface has this character: those that it lacks all look alike."""
    return _looks(character) != _looks(_IN_NO_TYPEFACE)


@lru_cache(maxsize=2**14)
def _looks(character: str) -> tuple[tuple[int, int], bytes]:
    # Plain layout: the other one puts a dotted circle below a mark that stands alone, be it one that is lacking.
    mask = _font(32, ImageFont.Layout.BASIC).getmask(character)
    return mask.size, bytes(mask)
