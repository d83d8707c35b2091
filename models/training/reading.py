"""One picture of unknown origin, decoded safely: PNG, JPEG or WebP, and nothing else."""

import warnings
from dataclasses import dataclass

from PIL import Image, ImageOps

from untrusted.pictures import PictureTooCostly, open_picture

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64_000_000

_ORIENTATION = 0x0112
_TURNED = "EXIF orientation was applied"
_FLATTENED = "transparency was laid over white"
_FIRST_FRAME = "the first of several frames was taken"


class PictureRefused(Exception):
    """The file cannot be trained on. `args` are what is wrong and what to do about it."""


@dataclass(frozen=True)
class Picture:
    """image: RGB and upright. size: width and height as stored, upright. notes: what was changed."""

    image: Image.Image
    size: tuple[int, int]
    notes: tuple[str, ...]


def read_picture(data: bytes, side: int) -> Picture:
    """Decode a file's bytes; a large JPEG only as finely as images of `side` pixels need.

    EXIF orientation is applied, transparency is laid over white, grey, palette and CMYK become RGB, and of a JPEG with
    several frames (MPO, as phones write it) the first is taken; `notes` tell.

    Raises:
        PictureRefused: an animation, 16 bits a channel, more than `MAX_PIXELS` pixels by its header, of more parts than
            a picture has, or not a whole picture in one of the formats.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(data, side)
    except PictureRefused:
        raise
    except PictureTooCostly as refusal:
        raise PictureRefused(*refusal.args) from None
    except Image.DecompressionBombError:
        raise PictureRefused("it declares far too many pixels", "make it smaller") from None
    except Exception:  # noqa: BLE001 - hostile bytes make decoders fail in every way there is
        raise PictureRefused(
            "it is not a whole PNG, JPEG or WebP picture", "open it in an image viewer and save it anew"
        ) from None


def _read(data: bytes, side: int) -> Picture:
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[24:25] == b"\x10":
        raise PictureRefused("it has 16 bits a channel", "save it with 8 bits a channel")
    notes = []
    with open_picture(data, FORMATS) as file:
        width, height = file.size
        if width * height > MAX_PIXELS:
            raise PictureRefused(f"it has {width} x {height} pixels, more than {MAX_PIXELS}", "make it smaller")
        if getattr(file, "n_frames", 1) > 1:
            if file.format != "MPO":
                raise PictureRefused("it is animated", "save one frame as a plain picture")
            notes.append(_FIRST_FRAME)
        turned = file.getexif().get(_ORIENTATION, 1)
        # JPEG can be decoded at an eighth, a quarter or half its size; twice what is needed loses nothing visible.
        file.draft("RGB", (2 * side, 2 * side))
        file.load()
        image = ImageOps.exif_transpose(file)
    if turned in range(2, 9):
        notes.append(_TURNED)
    if turned in range(5, 9):
        width, height = height, width
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        if layers.getchannel("A").getextrema() != (255, 255):
            notes.append(_FLATTENED)
        image = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
    return Picture(image.convert("RGB"), (width, height), tuple(notes))
