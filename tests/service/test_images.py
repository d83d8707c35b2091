"""What becomes of the many kinds of PNG and JPEG."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from service.depth_files import read_depth_png
from service.images import read_image, read_mask
from tests.costly_pictures import (
    jpeg,
    jpeg_of_scans,
    jpeg_of_segments,
    jpeg_of_stray_bytes,
    png_of_chunks,
)
from tests.service.uploads import image_bytes, png
from untrusted import pictures
from untrusted.pictures import PictureRefused


def image_of(data: bytes, max_pixels: int = 10_000) -> tuple[Image.Image, list[str]]:
    return read_image(io.BytesIO(data), max_pixels)


def test_a_plain_image_is_kept_pixel_for_pixel() -> None:
    data = image_bytes((40, 30))
    image, notes = image_of(data)
    assert notes == []
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image, _ = image_of(image_bytes(mode=mode, kind="JPEG" if mode == "CMYK" else "PNG"))
    assert (image.mode, image.size) == ("RGB", (64, 64))


def test_transparency_is_laid_over_white() -> None:
    layers = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    layers.putpixel((0, 0), (255, 0, 0, 255))
    image, notes = image_of(png(layers))
    assert notes == ["transparency was laid over white"]
    assert image.getpixel((0, 0)) == (255, 0, 0)
    assert image.getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 20)), (3, (40, 20)), (6, (20, 40)), (8, (20, 40))])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_orientation_is_applied(orientation: int, size: tuple[int, int], kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, notes = image_of(image_bytes((40, 20), kind=kind, exif=exif))
    assert image.size == size
    assert notes == ([] if orientation == 1 else ["EXIF orientation was applied"])


def test_the_first_frame_of_a_phones_picture_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "MPO", save_all=True, append_images=frames[1:])
    image, notes = image_of(buffer.getvalue())
    assert notes == ["the first of several frames was taken"]
    assert image.getpixel((4, 4))[0] > 200  # type: ignore[index]


def test_pixels_are_counted_before_decoding() -> None:
    data = image_bytes((100, 101))
    with pytest.raises(PictureRefused, match="100 x 101 pixels, more than 10000"):
        image_of(data[:60])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["grey", "palette"])
def test_masks_of_every_depth_keep_their_indices(bits: int, kind: str) -> None:
    indices = (np.arange(8 * 16) % 2**bits).astype(np.uint8).reshape(8, 16)
    if kind == "grey":
        data = _grey_png(indices, bits)
    else:
        image = Image.fromarray(indices, "P")
        image.putpalette([value for index in range(2**bits) for value in (255 - index, index, 7)])
        data = png(image, bits=bits)
        assert data[24] == bits
    assert np.array_equal(read_mask(io.BytesIO(data), 1000), indices)


def test_a_masks_transparency_is_ignored() -> None:
    image = Image.fromarray(np.eye(8, dtype=np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    assert np.array_equal(read_mask(io.BytesIO(png(image, transparency=0)), 1000), np.eye(8))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (jpeg_of_segments(2001), "more than 2000 segments"),
        (jpeg_of_segments(2001, length=0), "more than 2000 segments"),
        (jpeg_of_segments(300, length=65_000), "more than 16 MiB before its pixels"),
        (jpeg_of_scans(100), "more than 100 scans"),
        (jpeg_of_stray_bytes(bytes(70_000)), "more than 64 KiB between its parts"),
        (jpeg_of_stray_bytes(b"\xff" * 70_000), "more than 64 KiB between its parts"),
        (jpeg_of_stray_bytes(b"\xff\xd0" * 35_000), "more than 64 KiB between its parts"),
        (b"\xff\xd8\xff" + bytes(70_000), "more than 64 KiB between its parts"),
        (png_of_chunks(1001), "more than 1000 chunks beside its pixels"),
        (png_of_chunks(100_001, b"IDAT"), "its pixels in more than 100000 chunks"),
    ],
)
def test_a_file_of_far_too_many_parts_is_refused_before_it_is_decoded(
    data: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Image, "open")
    with pytest.raises(PictureRefused, match=message) as refusal:
        image_of(data)
    assert "save it anew" in refusal.value.args[1]


def test_masks_and_depth_are_looked_through_as_well() -> None:
    for read in (read_mask, read_depth_png):
        with pytest.raises(PictureRefused, match="more than 1000 chunks"):
            read(io.BytesIO(png_of_chunks(1001)), 1000)


@pytest.mark.parametrize(
    "data",
    [
        jpeg_of_segments(1900),
        jpeg_of_segments(3, length=65_000),
        jpeg_of_scans(80),
        jpeg_of_stray_bytes(b"\xff" * 100 + b"\xff\xd0\0" * 100),
        png_of_chunks(900),
        png_of_chunks(50_000, b"IDAT"),
        jpeg() + jpeg_of_segments(3000),
    ],
)
def test_a_file_of_many_parts_is_read(data: bytes) -> None:
    """What is behind the end of a picture is no part of it: phones put further pictures there."""
    image, _ = image_of(data)
    assert image.size == (16, 16)


def test_the_bytes_of_a_file_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    data = image_bytes((64, 64))
    monkeypatch.setattr("service.images.MAX_BYTES", 10_000)
    monkeypatch.setattr(pictures, "MAX_BYTES", 10_000)
    stream = io.BytesIO(data)
    with pytest.raises(PictureRefused, match="it is larger than 0 MiB"):
        read_image(stream, 10_000)
    assert stream.tell() == 10_001


def _grey_png(indices: np.ndarray, bits: int) -> bytes:
    """A greyscale PNG written by hand, since Pillow writes 1 and 8 bits only."""
    height, width = indices.shape
    unpacked = np.unpackbits(indices[..., None], axis=2)[..., 8 - bits :]
    rows = np.packbits(unpacked.reshape(height, width * bits), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
