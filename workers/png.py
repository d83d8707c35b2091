"""Images and masks as PNG bytes: the same array always gives the same bytes."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.label_schema import LabelClass

_COMPRESS_LEVEL = 4
"""zlib's; a step above it costs much time for few bytes on photographs."""


def palette(classes: list[LabelClass]) -> bytes:
    """The PNG palette (768 bytes, RGB) that shows mask value i in the colour of class i, and other values in black."""
    return b"".join(bytes.fromhex(entry.color[1:]) for entry in classes).ljust(768, b"\0")


def image_png(image: NDArray[np.uint8]) -> bytes:
    """PNG of an RGB image, (H, W, 3) uint8."""
    return _encode(Image.fromarray(image, "RGB"))


def mask_png(mask: NDArray[np.uint8], colors: bytes) -> bytes:
    """8-bit palette PNG of class indices, (H, W) uint8; `colors` comes from `palette`."""
    picture = Image.fromarray(mask, "L")
    picture.putpalette(colors)
    return _encode(picture)


def read_image(data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 from the bytes of an image file."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def read_mask(data: bytes) -> NDArray[np.uint8]:
    """(H, W) uint8 class indices from the bytes of an 8-bit grey or palette PNG."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture, dtype=np.uint8)


def _encode(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=_COMPRESS_LEVEL)
    return buffer.getvalue()
