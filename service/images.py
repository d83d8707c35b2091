"""The images and masks of an upload, as PNG or JPEG and nothing else."""

from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from untrusted.pictures import MAX_BYTES, PictureRefused, open_picture
from untrusted.reading import check_pixels, check_png, decoded, png_depth, read_picture

_MASK_REMEDY = "save the mask as 8-bit greyscale or palette PNG, in which a pixel's value is its class's index"


def read_image(stream: BinaryIO, max_pixels: int) -> tuple[Image.Image, list[str]]:
    """The image as RGB and upright, with notes on what was changed for that: see `read_picture`, which says what raises
    `PictureRefused`."""
    picture = read_picture(picture_bytes(stream), ("PNG", "JPEG"), max_pixels)
    return picture.image, [*picture.notes]


def read_mask(stream: BinaryIO, max_pixels: int) -> npt.NDArray[np.uint8]:
    """The mask's class indices (height, width), exactly as stored: of a palette the index, never the colour.

    1-, 2-, 4- and 8-bit PNG, grey or palette. Transparency and EXIF are ignored: a mask must match its image as shown.
    Raises `PictureRefused` otherwise.
    """
    return decoded(lambda: _read_mask(stream, max_pixels), "PNG image")


def picture_bytes(stream: BinaryIO) -> bytes:
    """All bytes of a picture's file; of one that is too large, so many that this shows."""
    return stream.read(MAX_BYTES + 1)


def _read_mask(stream: BinaryIO, max_pixels: int) -> npt.NDArray[np.uint8]:
    data = picture_bytes(stream)
    check_png(data, _MASK_REMEDY)
    depth = png_depth(data)
    if depth == 16:
        raise PictureRefused("it has 16 bits a pixel", _MASK_REMEDY)
    with open_picture(data, ("PNG",)) as mask:
        check_pixels(mask, max_pixels)
        if getattr(mask, "n_frames", 1) > 1:
            raise PictureRefused("it is animated", _MASK_REMEDY)
        if mask.mode not in {"L", "P", "1"}:
            raise PictureRefused(f"it is {mask.mode}, and a mask has one channel of class indices", _MASK_REMEDY)
        mask.load()
        values = np.array(mask, dtype=np.uint8)
        # Pillow stretches grey of 2 and 4 bits to 0…255; this takes it back.
        return values // (255 // (2**depth - 1)) if mask.mode == "L" and depth in (2, 4) else values
