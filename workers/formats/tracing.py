"""Outlines and run lengths of a mask by compiled code, which for small masks takes a fraction of the time that calls of
OpenCV and NumPy take; large ones gain less. `workers/formats/tracing.c` is built where the package is installed, if
there is a C compiler.

All functions give None where that code is not there; those that take a mask, for what is none of an image that is made
here.
"""

import ctypes
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.compiled import compiled

# These say what the C file says.
_INTERFACE, _REGION_INTS, _POINT_INTS, _LENGTHS_INTS = 3, 8, 2, 2
_ARGUMENTS = (ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_char_p)

_LEAST_ROOM = 2**13
"""Points and characters that any small mask may have."""

_POINT_CHARACTERS = 22
"""Two numbers of 31 bits, and commas."""

_MOST_PIXELS = 2**26
"""Sizes of buffers are numbers of 32 bits."""


@cache
def _library() -> ctypes.CDLL | str:
    """The compiled code, or why there is none to use."""
    library = compiled(
        Path(__file__).parent, "_tracing", [_INTERFACE, 4 * _REGION_INTS, 4 * _POINT_INTS, 4 * _LENGTHS_INTS]
    )
    if not isinstance(library, str):
        library.trace_regions.argtypes = (*_ARGUMENTS, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)
        library.run_lengths.argtypes = (*_ARGUMENTS, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)
        library.write_outlines.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32, *2 * [ctypes.c_void_p])
        library.write_outlines.restype = None
    return library


def availability() -> str:
    """`available`, or why the compiled code is not."""
    library = _library()
    return library if isinstance(library, str) else "available"


def trace_regions(
    mask: npt.NDArray[np.uint8], values: Iterable[int]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None:
    """The regions of these classes in a mask, (H, W), by the first pixels of their topmost rows.

    Returns points, (N, 2), x and y; and regions, (R, 8): class, first point, number of points, pixels, left, top, right
    and bottom.
    """
    library = _library()
    if isinstance(library, str) or not _is_fit(mask):
        return None
    height, width = mask.shape
    # Four borders may turn at a corner of a pixel, and each hole takes two points more.
    usual, most = max(mask.size // 2, _LEAST_ROOM), 6 * (height + 1) * (width + 1)
    return _traced(library, mask, values, usual, usual // 4) or _traced(library, mask, values, most, mask.size)


def _traced(
    library: ctypes.CDLL, mask: npt.NDArray[np.uint8], values: Iterable[int], most_points: int, most_regions: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None:
    mask = np.ascontiguousarray(mask)
    points = np.empty((most_points, _POINT_INTS), np.int32)
    found = np.empty((most_regions, _REGION_INTS), np.int32)
    room = (points.ctypes.data, most_points, found.ctypes.data, most_regions)
    count = library.trace_regions(mask.ctypes.data, *mask.shape, _flags(values), *room)
    return None if count < 0 else (points, found[:count])


def run_lengths(mask: npt.NDArray[np.uint8], values: Iterable[int]) -> dict[int, bytes] | None:
    """Value → compressed run lengths of where it is in a mask, (H, W), by rising value."""
    library = _library()
    if isinstance(library, str) or not _is_fit(mask):
        return None
    mask = np.ascontiguousarray(mask)
    classes = (ctypes.c_int32 * (_LENGTHS_INTS * 256))()
    # A run takes two numbers, each of them at most seven characters.
    for room in (max(mask.size, _LEAST_ROOM), 14 * mask.size + 14 * 256):
        text = np.empty(room, np.uint8)
        place = text.ctypes.data
        count = library.run_lengths(mask.ctypes.data, *mask.shape, _flags(values), classes, place, room)
        if count >= 0:
            of_classes = classes[: _LENGTHS_INTS * count]
            ends = of_classes[1::_LENGTHS_INTS]
            written = ctypes.string_at(place, ends[-1] if ends else 0)
            starts = [0, *ends[:-1]]
            return {v: written[a:b] for v, a, b in zip(of_classes[::_LENGTHS_INTS], starts, ends, strict=False)}
    return None


def outline_texts(outlines: Sequence[npt.NDArray[np.int32]]) -> list[str] | None:
    """x and y of the corners of each outline, (N, 2) of at least 0, with commas between: `4,0,4,7,9,7,9,0`."""
    library = _library()
    if isinstance(library, str) or not outlines:
        return None
    points = np.concatenate(outlines, dtype=np.int32)
    counts = np.fromiter(map(len, outlines), np.int32, len(outlines))
    ends = np.empty(len(outlines), np.int32)
    text = np.empty(_POINT_CHARACTERS * len(points), np.uint8)
    places = (array.ctypes.data for array in (text, ends))
    library.write_outlines(points.ctypes.data, counts.ctypes.data, len(outlines), *places)
    stops = ends.tolist()
    written = ctypes.string_at(text.ctypes.data, stops[-1]).decode("ascii")
    return [written[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def _is_fit(mask: npt.NDArray[np.uint8]) -> bool:
    return mask.dtype == np.uint8 and mask.ndim == 2 and 0 < mask.size <= _MOST_PIXELS


def _flags(values: Iterable[int]) -> bytes:
    """Of each value that a mask can have, whether it is one of `values`."""
    flags = bytearray(256)
    for value in values:
        if 0 <= value < len(flags):
            flags[value] = 1
    return bytes(flags)
