"""PNG bytes: exact, repeatable, and in the classes' colours."""

import io

import numpy as np
from PIL import Image

from service.label_schema import LabelClass
from workers.png import image_png, mask_png, palette, read_image, read_mask

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


def test_values_up_to_255_survive() -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (read_mask(mask_png(mask, palette(CLASSES))) == mask).all()
