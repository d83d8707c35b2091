"""Decoding the images and masks that strangers send, with Pillow, as PNG or JPEG and nothing else."""

import warnings
from collections.abc import Callable
from typing import BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from untrusted.pictures import MAX_BYTES, PictureTooCostly, open_picture

_RESAVE = "save it as 8-bit RGB"
_MASK_REMEDY = "save the mask as 8-bit greyscale or palette PNG, in which a pixel's value is its class's index"
_ORIENTATION = 0x0112
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

TURNED = "EXIF orientation was applied"
"""A note of `read_image`: its pixels lie elsewhere than in the file."""

T = TypeVar("T")


class ImageRefused(Exception):
    """The file cannot be used as an image or mask. `args` are what is wrong and what to do about it."""


def read_image(stream: BinaryIO, max_pixels: int) -> tuple[Image.Image, list[str]]:
    """The image as RGB and upright, with notes on what was changed for that.

    EXIF orientation is applied; transparency is composited over white; CMYK, palette and grey become RGB; of a picture
    with several frames in JPEG (MPO, as phones write it) the first is taken. Raises `ImageRefused` for an animation,
    16 bits a channel, more than `max_pixels` pixels, a file too large or of too many parts, and anything that is not a
    whole PNG or JPEG.
    """
    return decoded(lambda: _read_image(stream, max_pixels))


def read_mask(stream: BinaryIO, max_pixels: int) -> npt.NDArray[np.uint8]:
    """The mask's class indices (height, width), exactly as stored: of a palette the index, never the colour.

    1-, 2-, 4- and 8-bit PNG, grey or palette. Transparency and EXIF are ignored: a mask must match its image as shown.
    Raises `ImageRefused` otherwise.
    """
    return decoded(lambda: _read_mask(stream, max_pixels), "PNG image")


def decoded(read: Callable[[], T], what: str = "PNG or JPEG image") -> T:
    """What `read` gives. Raises `ImageRefused` for whatever it raises, calling the file no whole `what`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except ImageRefused:
        raise
    except PictureTooCostly as refusal:
        raise ImageRefused(*refusal.args) from None
    except Image.DecompressionBombError:
        raise ImageRefused("it declares far too many pixels", "send a smaller image") from None
    except Exception:  # noqa: BLE001 - hostile bytes make decoders fail in every way there is
        raise ImageRefused(f"it is not a whole {what}", "open it in an image viewer and save it anew") from None


def _read_image(stream: BinaryIO, max_pixels: int) -> tuple[Image.Image, list[str]]:
    notes = []
    data = picture_bytes(stream)
    if png_depth(data) == 16:
        raise ImageRefused("it has 16 bits a channel", _RESAVE)
    with open_picture(data, ("PNG", "JPEG")) as image:
        check_pixels(image, max_pixels)
        if getattr(image, "n_frames", 1) > 1:
            if image.format == "PNG":
                raise ImageRefused("it is animated", "save one frame as a plain PNG")
            notes.append("the first of several frames was taken")
        image.load()
        orientation = image.getexif().get(_ORIENTATION, 1)
        upright = ImageOps.exif_transpose(image)
    if orientation in range(2, 9):
        notes.append(TURNED)
    if upright.has_transparency_data:
        layers = upright.convert("RGBA")
        if layers.getchannel("A").getextrema() != (255, 255):
            notes.append("transparency was composited over white")
        upright = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
    elif upright.mode not in {"RGB", "L", "P", "1"}:
        notes.append(f"{upright.mode} was converted to RGB")
    return upright.convert("RGB"), notes


def _read_mask(stream: BinaryIO, max_pixels: int) -> npt.NDArray[np.uint8]:
    data = picture_bytes(stream)
    check_png(data, _MASK_REMEDY)
    depth = png_depth(data)
    if depth == 16:
        raise ImageRefused("it has 16 bits a pixel", _MASK_REMEDY)
    with open_picture(data, ("PNG",)) as mask:
        check_pixels(mask, max_pixels)
        if getattr(mask, "n_frames", 1) > 1:
            raise ImageRefused("it is animated", _MASK_REMEDY)
        if mask.mode not in {"L", "P", "1"}:
            raise ImageRefused(f"it is {mask.mode}, and a mask has one channel of class indices", _MASK_REMEDY)
        mask.load()
        values = np.array(mask, dtype=np.uint8)
        # Pillow stretches grey of 2 and 4 bits to 0…255; this takes it back.
        return values // (255 // (2**depth - 1)) if mask.mode == "L" and depth in (2, 4) else values


def check_pixels(image: Image.Image, max_pixels: int) -> None:
    """Raises `ImageRefused` for too many. Goes by the header alone: nothing is decoded before this."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageRefused(f"it has {width} x {height} pixels, more than {max_pixels}", "send a smaller image")


def picture_bytes(stream: BinaryIO) -> bytes:
    """All bytes of a picture's file; of one that is too large, so many that this shows."""
    return stream.read(MAX_BYTES + 1)


def check_png(data: bytes, remedy: str) -> None:
    """Raises `ImageRefused` for a picture of another format, whatever its file is called."""
    if data and not data.startswith(_PNG_SIGNATURE):
        raise ImageRefused("it is not a PNG", remedy)


def png_depth(data: bytes) -> int | None:
    """Bits a channel of a PNG, which Pillow does not tell; None for anything else."""
    return data[24] if len(data) > 24 and data.startswith(_PNG_SIGNATURE) else None
