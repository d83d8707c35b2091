"""Decoding depth as strangers send it: 16-bit grey PNG, or NPY without pickle."""

import io
import math
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from service.images import picture_bytes
from untrusted.pictures import PictureRefused, open_picture
from untrusted.reading import check_pixels, check_png, decoded, png_depth

_PNG_REMEDY = "save it as 16-bit greyscale PNG, or as NPY"
_NPY_REMEDY = "save one 2-D array of float16, float32, float64 or whole numbers with numpy.save"
_HEADER_BYTES = 1 << 16
_LEAST, _LARGEST = 1e-20, 1e20
"""What a float32 holds with room to spare; no unit of depth needs more."""


def read_depth_png(stream: BinaryIO, max_pixels: int) -> npt.NDArray[np.uint16]:
    """The steps of a depth picture, (H, W); 0 is not known.

    Raises `PictureRefused` for anything but a whole 16-bit greyscale PNG of at most `max_pixels` pixels.
    """
    return decoded(lambda: _read_png(stream, max_pixels), "PNG image")


def read_depth_npy(stream: BinaryIO, max_pixels: int) -> npt.NDArray[np.float32]:
    """The depth in a NPY file, (H, W) in its own unit; NaN where it is not known: NaN, infinite, 0 or less.

    Nothing is unpickled, and no more is read than the header declares and `max_pixels` allows. Raises `PictureRefused`.
    """
    try:
        return _read_npy(stream, max_pixels)
    except PictureRefused:
        raise
    except Exception:  # noqa: BLE001 - numpy parses headers as Python, which fails in every way there is
        raise PictureRefused("it is not a whole NPY file", _NPY_REMEDY) from None


def _read_png(stream: BinaryIO, max_pixels: int) -> npt.NDArray[np.uint16]:
    data = picture_bytes(stream)
    check_png(data, _PNG_REMEDY)
    bits = png_depth(data)
    with open_picture(data, ("PNG",)) as picture:
        check_pixels(picture, max_pixels)
        if getattr(picture, "n_frames", 1) > 1:
            raise PictureRefused("it is animated", _PNG_REMEDY)
        if bits != 16 or not picture.mode.startswith("I"):
            told = f"{picture.mode} of {bits} bits"
            raise PictureRefused(f"it is {told}, and depth is greyscale of 16 bits", _PNG_REMEDY)
        picture.load()
        return np.array(picture).astype(np.uint16)


def _read_npy(stream: BinaryIO, max_pixels: int) -> npt.NDArray[np.float32]:
    header = io.BytesIO(stream.read(_HEADER_BYTES))
    version = np.lib.format.read_magic(header)
    if version not in ((1, 0), (2, 0)):
        raise PictureRefused(f"it is NPY of version {version[0]}.{version[1]}", _NPY_REMEDY)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(header)
    if dtype.hasobject or dtype.kind not in "fiu" or dtype.itemsize > 8 or dtype.subdtype is not None:
        raise PictureRefused(f"its numbers are {str(dtype)[:32]}", _NPY_REMEDY)
    if len(shape) != 2 or min(shape) < 1:
        raise PictureRefused(f"its shape is {str(shape)[:64]}, not (height, width)", _NPY_REMEDY)
    count = math.prod(shape)
    if count > max_pixels:
        raise PictureRefused(f"it has {count} pixels, more than {max_pixels}", "make it smaller")
    stream.seek(header.tell())
    data = stream.read(count * dtype.itemsize + 1)
    if len(data) != count * dtype.itemsize:
        raise PictureRefused("its length is not what its header says", "save it anew with numpy.save")
    values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    return _known(values)


def _known(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    with np.errstate(all="ignore"):
        known = np.isfinite(values) & (values > 0)
        if known.any():
            least, largest = float(values[known].min()), float(values[known].max())
            if least < _LEAST or largest > _LARGEST:
                message = f"its depths run from {least:g} to {largest:g}"
                raise PictureRefused(message, f"choose a unit in which they lie within {_LEAST:g} and {_LARGEST:g}")
        return np.where(known, values, np.nan).astype(np.float32)
