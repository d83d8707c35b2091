"""Pictures of unknown origin, decoded safely to what they show: RGB and upright."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from PIL import Image, ImageOps

from untrusted.pictures import PictureRefused, open_picture

TURNED = "EXIF orientation was applied"
"""A note of `read_picture`: its pixels lie elsewhere than in the file."""

_ORIENTATION = 0x0112
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """image: RGB and upright. size: width and height as stored, upright. notes: what was changed."""

    image: Image.Image
    size: tuple[int, int]
    notes: tuple[str, ...]


def read_picture(data: bytes, formats: tuple[str, ...], max_pixels: int, side: int | None = None) -> Picture:
    """What the bytes of a file show.

    EXIF orientation is applied; transparency is laid over white; CMYK, palette and grey become RGB; of a JPEG with
    several frames (MPO, as phones write it) the first is taken; `notes` tell.

    Args:
        formats: Pillow's names of those that are taken.
        max_pixels: by the file's header; nothing is decoded before this is looked at.
        side: decode a large JPEG only as finely as images of so many pixels a side need.

    Raises:
        PictureRefused: an animation, 16 bits a channel, too many pixels, a file too large or of too many parts, or not
            a whole picture in one of the formats.
    """
    *others, last = ("WebP" if name == "WEBP" else name for name in formats)
    what = f"{', '.join(others)} or {last} image" if others else f"{last} image"
    return decoded(lambda: _read(data, formats, max_pixels, side), what)


def decoded(read: Callable[[], T], what: str) -> T:
    """What `read` gives. Raises `PictureRefused` for whatever it raises, calling the file no whole `what`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except PictureRefused:
        raise
    except Image.DecompressionBombError:
        raise PictureRefused("it declares far too many pixels", "make it smaller") from None
    except Exception:  # noqa: BLE001 - hostile bytes make decoders fail in every way there is
        raise PictureRefused(f"it is not a whole {what}", "open it in an image viewer and save it anew") from None


def check_pixels(image: Image.Image, max_pixels: int) -> None:
    """Raises `PictureRefused` for too many. Goes by the header alone."""
    width, height = image.size
    if width * height > max_pixels:
        raise PictureRefused(f"it has {width} x {height} pixels, more than {max_pixels}", "make it smaller")


def check_png(data: bytes, remedy: str) -> None:
    """Raises `PictureRefused` for a picture of another format, whatever its file is called."""
    if data and not data.startswith(_PNG_SIGNATURE):
        raise PictureRefused("it is not a PNG", remedy)


def png_depth(data: bytes) -> int | None:
    """Bits a channel of a PNG, which Pillow does not tell; None for anything else."""
    return data[24] if len(data) > 24 and data.startswith(_PNG_SIGNATURE) else None


def _read(data: bytes, formats: tuple[str, ...], max_pixels: int, side: int | None) -> Picture:
    if png_depth(data) == 16:
        raise PictureRefused("it has 16 bits a channel", "save it as 8-bit RGB")
    notes = []
    with open_picture(data, formats) as file:
        check_pixels(file, max_pixels)
        width, height = file.size
        if getattr(file, "n_frames", 1) > 1:
            if file.format != "MPO":
                raise PictureRefused("it is animated", "save one frame as a plain picture")
            notes.append("the first of several frames was taken")
        orientation = file.getexif().get(_ORIENTATION, 1)
        if side is not None:
            # JPEG can be decoded at an eighth, a quarter or half its size; twice what is needed loses nothing visible.
            file.draft("RGB", (2 * side, 2 * side))
        file.load()
        image = ImageOps.exif_transpose(file)
    if orientation in range(2, 9):
        notes.append(TURNED)
    if orientation in range(5, 9):
        width, height = height, width
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        if layers.getchannel("A").getextrema() != (255, 255):
            notes.append("transparency was laid over white")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
    elif image.mode not in {"RGB", "L", "P", "1"}:
        notes.append(f"{image.mode} was converted to RGB")
    return Picture(image.convert("RGB"), (width, height), tuple(notes))
