"""Colours for classes that come without one."""

import colorsys
from collections.abc import Iterator, Sequence

_GOLDEN_ANGLE = 0.618033988749895
_FIRST = ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac")


def fill_colors(colors: Sequence[str | None]) -> list[str]:
    """`colors` with each None replaced by one (`#rrggbb`) that no other class has, the same ones every time."""
    taken = {color for color in colors if color is not None}
    fresh = (color for color in _endless() if color not in taken)
    return [color if color is not None else next(fresh) for color in colors]


def _endless() -> Iterator[str]:
    yield from _FIRST
    step = 0
    while True:
        hue = step * _GOLDEN_ANGLE % 1
        value = 0.95 - 0.2 * (step % 3)
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.45 + 0.25 * (step % 2), value)
        yield f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
        step += 1
