"""Small pictures in files of far too many parts."""

import io
import struct
import zlib

from PIL import Image

_SIZE = (16, 16)


def jpeg(progressive: bool = False) -> bytes:
    """A plain picture."""
    buffer = io.BytesIO()
    Image.new("RGB", _SIZE, "tan").save(buffer, "JPEG", progressive=progressive)
    return buffer.getvalue()


def png(color: str = "tan") -> bytes:
    """A plain picture."""
    buffer = io.BytesIO()
    Image.new("RGB", _SIZE, color).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg_of_segments(count: int, length: int = 2) -> bytes:
    """With so many segments before its pixels, each of which says that it has this length."""
    whole = jpeg()
    segment = b"\xff\xe5" + length.to_bytes(2, "big") + bytes(max(0, length - 2))
    return whole[:2] + segment * count + whole[2:]


def jpeg_of_scans(count: int) -> bytes:
    """A progressive picture whose last scan comes so many times more."""
    whole = jpeg(progressive=True)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + scan * count + whole[-2:]


def jpeg_of_stray_bytes(stray: bytes) -> bytes:
    """With bytes of no segment before its pixels."""
    whole = jpeg()
    return whole[:2] + stray + whole[2:]


def png_of_chunks(count: int, kind: bytes = b"prVt") -> bytes:
    """With so many empty chunks before its pixels."""
    whole = png()
    chunk = struct.pack(">I4sI", 0, kind, zlib.crc32(kind))
    return whole[:33] + chunk * count + whole[33:]
