"""Pictures whose files are looked through before Pillow sees them: it keeps and decodes every part they consist of."""

import io
import re
import struct

from PIL import Image

MAX_BYTES = 64 * 2**20
"""Of one picture's file."""

MAX_SEGMENTS = 2_000
"""Of a JPEG, scans included. A cut-up colour profile has 255, and hardly any other is repeated."""

MAX_SCANS = 100
"""Of a JPEG. Each costs a pass over all pixels; programs write about ten."""

MAX_HEAD_BYTES = 16 * 2**20
"""Of a JPEG, before its first scan: Pillow joins what belongs together piece by piece, each time all of it."""

MAX_STRAY_BYTES = 2**16
"""Of a JPEG, between the segments before its first scan: Pillow reads such bytes one by one."""

MAX_CHUNKS = 1_000
"""Of a PNG, those with pixels left out."""

MAX_PIXEL_CHUNKS = 100_000
"""Of a PNG. Programs put 8 KiB and more in each."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# Markers with a length behind them, and the one that ends the picture. Pillow and libjpeg step over all others.
_MARKER = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xd9-\xef\xfe]")
_END, _SCAN = 0xD9, 0xDA
_REMEDY = "open it in an image viewer and save it anew"


class PictureRefused(Exception):
    """The file cannot be used as a picture. `args` are what is wrong and what to do about it."""


def open_picture(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """The picture in a file's bytes, not decoded yet, if it is in one of Pillow's `formats`.

    Raises:
        PictureRefused: more than `MAX_BYTES`, or a JPEG or PNG of more parts than a picture has.
        Exception: whatever Pillow raises for bytes that are no picture.
    """
    if len(data) > MAX_BYTES:
        raise PictureRefused(f"it is larger than {MAX_BYTES >> 20} MiB", "make it smaller, or save it as JPEG")
    if data.startswith(_PNG):
        _check_png(data)
    elif data.startswith(_JPEG):
        _check_jpeg(data)
    return Image.open(io.BytesIO(data), formats=formats)


def _check_png(data: bytes) -> None:
    chunks = pixel_chunks = 0
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return
        pixel_chunks += kind == b"IDAT"
        chunks += kind != b"IDAT"
        if chunks > MAX_CHUNKS:
            raise PictureRefused(f"it has more than {MAX_CHUNKS} chunks beside its pixels", _REMEDY)
        if pixel_chunks > MAX_PIXEL_CHUNKS:
            raise PictureRefused(f"it has its pixels in more than {MAX_PIXEL_CHUNKS} chunks", _REMEDY)
        at += 12 + length


def _check_jpeg(data: bytes) -> None:
    segments = scans = stray = 0
    at = len(_JPEG)
    while match := _MARKER.search(data, at):
        if not scans:
            stray += match.start() - at
            _check_head(match.start(), stray)
        kind, at = data[match.end() - 1], match.end()
        if kind == _END and scans:
            return
        if kind != _END:
            # A length counts its own two bytes; one that denies them is stepped over as Pillow does it.
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
        segments += 1
        scans += kind == _SCAN
        if segments > MAX_SEGMENTS:
            raise PictureRefused(f"it has more than {MAX_SEGMENTS} segments", _REMEDY)
        if scans > MAX_SCANS:
            raise PictureRefused(f"it has more than {MAX_SCANS} scans", f"{_REMEDY}, not as a progressive JPEG")
    if not scans:
        _check_head(at, stray + len(data) - at)


def _check_head(length: int, stray: int) -> None:
    if length > MAX_HEAD_BYTES:
        raise PictureRefused(f"it has more than {MAX_HEAD_BYTES >> 20} MiB before its pixels", _REMEDY)
    if stray > MAX_STRAY_BYTES:
        raise PictureRefused(f"it has more than {MAX_STRAY_BYTES >> 10} KiB between its parts", _REMEDY)
