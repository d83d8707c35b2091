"""Every fault of a depth gets a clear answer, and leaves nothing behind."""

import struct
from typing import Any

import httpx
import numpy as np
from PIL import Image

from service.stores import FileStore
from tests.service.spoiled_labels import DEPTH, EIGHT_BITS, FLOAT, NPY, Fault, Make, assert_told, each, without
from tests.service.uploads import depth_steps, image_bytes, labeled_files, npy, png

UNKNOWN = png(Image.fromarray(np.zeros((64, 64), np.uint16)))
DESCR = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }"


def depth(data: bytes, **project: Any) -> Make:
    return lambda: labeled_files(**project) | {DEPTH: data}


def array(data: bytes | np.ndarray, scale: float | None = 0.001) -> Make:
    """An NPY file in the place of the first PNG."""
    content = data if isinstance(data, bytes) else npy(data, allow_pickle=True)
    return lambda: without(DEPTH, depth={"scale": scale})() | {NPY: content}


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    """An NPY file with a header of one's own, and 64 × 64 float32."""
    size = struct.pack("<H", len(text)) if version == b"\x01\x00" else struct.pack("<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode() + b"\0" * 64 * 64 * 4


FAULTS: list[Fault] = [
    ("none for an image", without(DEPTH), "images/bear00.png", "it has no depth"),
    ("none at all", without(DEPTH, "depth/bear01.png"), "images/bear01.png", "it has no depth"),
    ("no image", lambda: labeled_files() | {"depth/dog.png": UNKNOWN}, "depth/dog.png", "it has no image"),
    ("both forms", lambda: labeled_files() | {NPY: npy(FLOAT)}, None, "same NAME"),
    ("another form", lambda: labeled_files() | {"depth/bear00.tif": b""}, "depth/bear00.tif", "nor labels"),
    ("8 bits", depth(EIGHT_BITS), DEPTH, "of 8 bits, and depth is greyscale of 16 bits"),
    ("colour", depth(image_bytes()), DEPTH, "depth is greyscale"),
    ("JPEG", depth(image_bytes(mode="L", kind="JPEG")), DEPTH, "it is not a PNG"),
    ("text", depth(b"1 2 3"), DEPTH, "it is not a PNG"),
    ("cut off", depth(png(Image.fromarray(depth_steps()))[:-30]), DEPTH, "not a whole PNG"),
    ("other size", depth(png(Image.fromarray(depth_steps((32, 64))))), DEPTH, "is 32 x 64 pixels, its image is 64"),
    ("too many pixels", depth(png(Image.fromarray(np.ones((1000, 1001), np.uint16)))), DEPTH, "more than 1000000"),
    ("nothing known", depth(UNKNOWN), DEPTH, "no depth is known"),
    ("text as NPY", array(b"hello"), NPY, "not a whole NPY file"),
    ("empty NPY", array(b""), NPY, "not a whole NPY file"),
    ("NPZ", array(b"PK\x03\x04" + bytes(100)), NPY, "not a whole NPY file"),
    ("NPY of version 3", array(header(DESCR % ("<f4", "(64, 64)"), b"\x03\x00")), NPY, "NPY of version 3.0"),
    ("NPY cut off", array(npy(FLOAT)[:-1]), NPY, "length is not what its header says"),
    ("NPY with more", array(npy(FLOAT) + b"x"), NPY, "length is not what its header says"),
    ("NPY of objects", array(np.full((64, 64), None)), NPY, "its numbers are object"),
    ("NPY of a pickle", array(header(DESCR % ("|O", "(64, 64)"))), NPY, "its numbers are object"),
    ("NPY of text", array(np.full((64, 64), "a")), NPY, "its numbers are <U1"),
    ("NPY of complex", array(FLOAT.astype(np.complex64)), NPY, "its numbers are complex64"),
    ("NPY of bool", array(FLOAT > 1), NPY, "its numbers are bool"),
    ("NPY of records", array(np.zeros((64, 64), [("a", "f4")])), NPY, "its numbers are"),
    ("NPY of 3 axes", array(FLOAT[..., None]), NPY, "its shape is (64, 64, 1)"),
    ("NPY of 1 axis", array(FLOAT.ravel()), NPY, "its shape is (4096,)"),
    ("NPY of no pixels", array(FLOAT[:0]), NPY, "its shape is (0, 64)"),
    ("NPY below 0", array(header(DESCR % ("<f4", "(-64, -64)"))), NPY, "its shape is (-64, -64)"),
    ("NPY bomb", array(header(DESCR % ("<f8", "(1000000000, 1000000000)"))), NPY, "more than 1000000"),
    ("NPY of a long header", array(header(" " * 20_000 + "{}", b"\x02\x00")), NPY, "not a whole NPY"),
    ("NPY that calls", array(header("__import__('os').system('true')")), NPY, "not a whole NPY"),
    ("NPY nested deep", array(header("(" * 5000 + ")" * 5000)), NPY, "not a whole NPY"),
    ("NPY of other size", array(FLOAT[:32]), NPY, "the depth is 64 x 32 pixels"),
    ("NPY of nothing known", array(np.where(FLOAT > 0, np.nan, FLOAT)), NPY, "no depth is known"),
    ("NPY of 0 and less", array(-np.eye(64)), NPY, "no depth is known"),
    ("NPY too large for a float", array(np.full((64, 64), 1e300)), NPY, "its depths run from 1e+300"),
    ("scale too small", array(FLOAT * 100), NPY, "its depth reaches 250, and 65535 steps of 0.001 reach 65.535"),
    ("scale too coarse", array(FLOAT, scale=1), NPY, "steps of 1 are too coarse"),
]  # fmt: skip


@each(FAULTS)
def test_bad_depths_are_refused(
    api: httpx.Client, api_store: FileStore, make: Make, file: str | None, message: str
) -> None:
    assert_told(api, api_store, make, file, message)
