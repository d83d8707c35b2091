"""Text in pictures: one typeface for all of it."""

import unicodedata
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
