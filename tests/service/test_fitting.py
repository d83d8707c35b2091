"""Fitting against independent arithmetic, and masks that are never blended."""

import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.fitting import fit_image, fit_labels, fit_points, plan_fitting

sizes = st.tuples(st.integers(1, 300), st.integers(1, 300))


@pytest.mark.parametrize(
    ("size", "resized", "crop"),
    [
        ((64, 64), (64, 64), (0, 0, 64, 64)),
        ((128, 128), (64, 64), (0, 0, 64, 64)),
        ((200, 100), (128, 64), (32, 0, 96, 64)),
        ((100, 200), (64, 128), (0, 32, 64, 96)),
        ((32, 48), (64, 96), (0, 16, 64, 80)),
        ((65, 64), (65, 64), (0, 0, 64, 64)),
        ((1, 1_000_000), (64, 64_000_000), (0, 31_999_968, 64, 32_000_032)),
    ],
)
def test_the_short_side_is_resized_and_the_centre_kept(
    size: tuple[int, int], resized: tuple[int, int], crop: tuple[int, int, int, int]
) -> None:
    fitting = plan_fitting(size, 64)
    assert (fitting.original, fitting.resized, fitting.crop) == (size, resized, crop)


@given(size=sizes, resolution=st.sampled_from([8, 64, 100]))
def test_a_mask_pixel_is_the_one_its_centre_lies_in(size: tuple[int, int], resolution: int) -> None:
    width, height = size
    mask = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    fitting = plan_fitting(size, resolution)
    fitted = fit_labels(mask, fitting)
    assert fitted.shape == (resolution, resolution)
    left, top, _, _ = fitting.crop
    for row, column in ((0, 0), (resolution - 1, 0), (resolution // 3, resolution // 2), (resolution - 1,) * 2):
        y = int(np.floor((row + top + 0.5) * height / fitting.resized[1] + 1e-9))
        x = int(np.floor((column + left + 0.5) * width / fitting.resized[0] + 1e-9))
        assert fitted[row, column] == mask[y, x]


@given(size=sizes, place=st.tuples(st.floats(0, 1), st.floats(0, 1)), resolution=st.sampled_from([8, 64, 100]))
def test_a_point_stays_on_the_pixel_it_is_drawn_on(
    size: tuple[int, int], place: tuple[float, float], resolution: int
) -> None:
    """The closed form in exact fractions; and what lies in the crop is what stays."""
    fitting = plan_fitting(size, resolution)
    drawn = [place[axis] * size[axis] for axis in (0, 1)]
    exact = [Fraction(drawn[axis]) * fitting.resized[axis] / size[axis] - fitting.crop[axis] for axis in (0, 1)]
    (x, y, visibility), hidden = fit_points(np.array([[*drawn, 2.0], [*drawn, 0.0]]), fitting)
    assert hidden.tolist() == [0, 0, 0]
    if all(-1e-9 < value < resolution + 1e-9 for value in exact) and visibility == 0:
        assert any(value < 1e-9 or value > resolution - 1e-9 for value in exact), "on the border, by rounding"
    elif all(0 <= value <= resolution for value in exact):
        assert (x, y, visibility) == pytest.approx((float(exact[0]), float(exact[1]), 2), abs=1e-5)
        assert np.float32(x) < resolution and np.float32(y) < resolution
    else:
        assert (x, y, visibility) == (0, 0, 0) or min(
            abs(value - edge) for value in exact for edge in (0, resolution)
        ) < 1e-9


@given(size=sizes)
def test_a_mask_gains_no_value(size: tuple[int, int]) -> None:
    mask = np.where(np.add.outer(np.arange(size[1]), np.arange(size[0])) % 2, 200, 0).astype(np.uint8)
    assert set(np.unique(fit_labels(mask, plan_fitting(size, 64)))) <= set(np.unique(mask))


@pytest.mark.parametrize("size", [(200, 100), (97, 211), (30, 50)])
def test_an_image_is_what_resizing_whole_and_cropping_gives(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    fitting = plan_fitting(size, 64)
    whole = image.resize(fitting.resized, Image.Resampling.LANCZOS).crop(fitting.crop)
    difference = np.abs(np.asarray(fit_image(image, fitting), dtype=int) - np.asarray(whole, dtype=int))
    assert difference.max() <= 1


def test_image_and_mask_stay_aligned() -> None:
    """A square drawn in both lies at the same place in both afterwards, to half a pixel."""
    array = np.zeros((150, 300), np.uint8)
    array[45:105, 120:180] = 1
    fitting = plan_fitting((300, 150), 64)
    mask = fit_labels(array, fitting)
    image = np.asarray(fit_image(Image.fromarray(array * 255).convert("RGB"), fitting))[..., 0] > 127
    assert np.mean(image != (mask == 1)) < 0.02
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() + 0.5 - 75 * 64 / 150) < 0.5
    assert abs(columns.mean() + 0.5 - (150 * 64 / 150 - fitting.crop[0])) < 0.5


def test_an_image_that_fits_is_left_as_it_is() -> None:
    image = Image.new("RGB", (64, 64))
    assert fit_image(image, plan_fitting((64, 64), 64)) is image


def test_a_very_long_image_costs_no_more_than_a_square_one() -> None:
    image = Image.open(io.BytesIO(_png_of((1, 900_000))))
    assert fit_image(image.convert("RGB"), plan_fitting(image.size, 64)).size == (64, 64)


def _png_of(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size).save(buffer, "PNG")
    return buffer.getvalue()
