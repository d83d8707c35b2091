"""The pictures for people: the right size, the right colours, room for every name."""

import io

import numpy as np
import pytest
from PIL import Image

from service.label_schema import LabelClass
from workers.pictures import cell, legend, overlay
from workers.preview import preview_png

CLASSES = [LabelClass(name=f"class number {index}", color=f"#{index:02x}80ff") for index in range(40)]
RNG = np.random.default_rng(5)


def image(side: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return RNG.integers(0, 256, (side, side, 3), np.uint8)


def decoded(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    picture.load()
    return picture


@pytest.mark.parametrize(("side", "shown"), [(8, 192), (64, 192), (100, 100), (192, 192), (1024, 192)])
def test_cells_are_enlarged_in_whole_steps_or_reduced(side: int, shown: int) -> None:
    assert cell(image(side), 192).size == (shown, shown)
    mask = np.zeros((side, side), np.uint8)
    assert overlay(image(side), mask, CLASSES, 192).size == (shown, shown)


def test_an_overlay_has_the_tint_of_the_class_and_a_line_between_classes() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 1
    classes = [LabelClass(name="left", color="#ff0000"), LabelClass(name="right", color="#0000ff")]
    picture = np.asarray(overlay(np.full((64, 64, 3), 128, np.uint8), mask, classes, 64), np.int64)
    red, _, blue = picture[10, 10]
    assert red - blue > 100
    red, _, blue = picture[10, 50]
    assert blue - red > 100
    assert picture[10, 32].sum() < 0.6 * picture[10, 50].sum()


def test_a_legend_has_room_for_many_classes() -> None:
    narrow, wide = legend(CLASSES, 400), legend(CLASSES, 2000)
    assert narrow.width == 400
    assert narrow.height > wide.height


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_preview_of_any_number_of_samples(count: int) -> None:
    samples = [(image(64), RNG.integers(0, 40, (64, 64), np.uint8)) for _ in range(count)]
    picture = decoded(preview_png(samples, CLASSES, "bears"))
    assert picture.width >= 2 * 192
