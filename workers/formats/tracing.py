"""Outlines and run lengths of a mask by compiled code, in a tenth of the time that OpenCV's and NumPy's calls take for
small ones. `workers/formats/tracing.c` is built where the package is installed, if there is a C compiler.

Both functions give None where that code is not there, or had no room: noise may have a corner at every pixel.
"""

import ctypes
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.compiled import compiled

# These say what the C file says.
_INTERFACE, _REGION_INTS, _POINT_INTS, _LENGTHS_INTS = 1, 8, 2, 2
_ARGUMENTS = (ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_char_p)

_LEAST_ROOM = 2**13


@cache
def _library() -> ctypes.CDLL | str:
    """The compiled code, or why there is none to use."""
    library = compiled(
        Path(__file__).parent, "_tracing", [_INTERFACE, 4 * _REGION_INTS, 4 * _POINT_INTS, 4 * _LENGTHS_INTS]
    )
    if not isinstance(library, str):
        library.trace_regions.argtypes = (*_ARGUMENTS, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)
        library.run_lengths.argtypes = (*_ARGUMENTS, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)
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
    if isinstance(library, str):
        return None
    mask = np.ascontiguousarray(mask)
    room = max(mask.size // 2, _LEAST_ROOM)
    points = np.empty((room, _POINT_INTS), np.int32)
    found = np.empty((room // 4, _REGION_INTS), np.int32)
    table, places = found.ctypes.data, points.ctypes.data
    count = library.trace_regions(mask.ctypes.data, *mask.shape, _flags(values), places, room, table, len(found))
    return None if count < 0 else (points, found[:count])


def run_lengths(mask: npt.NDArray[np.uint8], values: Iterable[int]) -> dict[int, bytes] | None:
    """Value → compressed run lengths of where it is in a mask, (H, W), by rising value."""
    library = _library()
    if isinstance(library, str):
        return None
    mask = np.ascontiguousarray(mask)
    room = max(mask.size, _LEAST_ROOM)
    text, classes = ctypes.create_string_buffer(room), (ctypes.c_int32 * (_LENGTHS_INTS * 256))()
    count = library.run_lengths(mask.ctypes.data, *mask.shape, _flags(values), classes, text, room)
    if count < 0:
        return None
    of_classes = classes[: _LENGTHS_INTS * count]
    ends = of_classes[1::_LENGTHS_INTS]
    written = ctypes.string_at(text, ends[-1] if ends else 0)
    return {
        value: written[start:end]
        for value, start, end in zip(of_classes[::_LENGTHS_INTS], [0, *ends], ends, strict=False)
    }


def _flags(values: Iterable[int]) -> bytes:
    """Of each value that a mask can have, whether it is one of `values`."""
    flags = bytearray(256)
    for value in values:
        flags[value] = 1
    return bytes(flags)
