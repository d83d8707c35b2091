"""PNG bytes: exact, repeatable, in the classes' colours, and read alike by two libraries that did not write them."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from service.label_schema import LabelClass
from workers.png import _own_mask, depth_png, image_png, mask_png, palette, read_depth, read_image, read_mask

CLASSES = [LabelClass(name="background", color="#000000"), LabelClass(name="bear", color="#8b5a2b")]
RNG = np.random.default_rng(0)


def test_an_image_comes_back_exactly() -> None:
    image = RNG.integers(0, 256, (48, 64, 3), np.uint8)
    assert (read_image(image_png(image)) == image).all()
    assert image_png(image) == image_png(image.copy())


def test_a_mask_keeps_its_values_and_shows_the_colours_of_its_classes() -> None:
    mask = RNG.integers(0, 2, (48, 64), np.uint8)
    data = mask_png(mask, palette(CLASSES))
    assert (read_mask(data) == mask).all()
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.mode == "P"
        colors = np.asarray(picture.convert("RGB"))
    assert (colors[mask == 1] == (0x8B, 0x5A, 0x2B)).all()
    assert (colors[mask == 0] == 0).all()


def test_values_up_to_255_survive_and_those_of_no_class_are_pale() -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = mask_png(mask, palette(CLASSES))
    assert (read_mask(data) == mask).all()
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.convert("RGB").getpixel((15, 15)) == (224, 224, 192)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_masks_of_other_writers_are_read_as_well(mode: str) -> None:
    mask = RNG.integers(0, 200, (31, 47), np.uint8)
    picture = Image.fromarray(mask)
    if mode == "P":
        picture.putpalette(bytes(range(256)) * 3)
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    assert (read_mask(file.getvalue()) == mask).all()


def test_the_quick_way_leaves_damaged_masks_to_the_library() -> None:
    mask = np.repeat(RNG.integers(0, 2, (16, 8), np.uint8), 4, axis=1)
    data = mask_png(mask, palette(CLASSES))
    assert (_own_mask(data) == mask).all()
    for place in range(data.index(b"IDAT") + 4, data.index(b"IEND") - 8):
        assert _own_mask(data[:place]) is None
        assert _own_mask(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (33, 20), (64, 64)])
def test_another_reader_finds_the_same_pixels(shape: tuple[int, int]) -> None:
    image = RNG.integers(0, 256, (*shape, 3), np.uint8)
    found = cv2.imdecode(np.frombuffer(image_png(image), np.uint8), cv2.IMREAD_UNCHANGED)
    assert (found[..., ::-1] == image).all()
    steps = RNG.integers(0, 65536, shape).astype(np.float32)
    found = cv2.imdecode(np.frombuffer(depth_png(steps, 1.0), np.uint8), cv2.IMREAD_UNCHANGED)
    assert found.dtype == np.uint16
    assert (found == np.maximum(steps, 1)).all()


def test_depth_comes_back_to_half_a_step() -> None:
    depth = RNG.uniform(0.5, 60.0, (40, 50)).astype(np.float32)
    depth[3:9, 5:20] = np.nan
    found = read_depth(depth_png(depth, 0.001), 0.001)
    assert (np.isnan(found) == np.isnan(depth)).all()
    assert np.nanmax(np.abs(found - depth)) <= 0.0005 + 60 * np.finfo(np.float32).eps
    with Image.open(io.BytesIO(depth_png(depth, 0.001))) as picture:
        assert picture.mode == "I;16"


def test_depth_beyond_the_steps_is_clipped_and_never_becomes_unknown() -> None:
    found = read_depth(depth_png(np.array([[0.0, -2.0, 1e9]], np.float32), 0.5), 0.5)
    assert found.tolist() == [[0.5, 0.5, 65535 * 0.5]]
