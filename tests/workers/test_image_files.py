"""Images in the format asked for: near what they were, and the same bytes every time."""

import io

import numpy as np
import pytest
from PIL import Image

from service.requests import ImageFormat
from workers.image_files import SUFFIXES, image_file


def drawing() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Smooth, with one sharp border between two colours of equal brightness."""
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    image = np.stack([x * 3, y * 4, 255 - x * 2], axis=-1).astype(np.uint8)
    image[10:30, 20:40] = (200, 60, 60)
    return image


@pytest.mark.parametrize(("image_format", "least_psnr"), [("png", np.inf), ("jpeg", 38.0), ("webp", 30.0)])
def test_an_image_is_of_its_format_and_near_the_original(image_format: str, least_psnr: float) -> None:
    image = drawing()
    data = image_file(image, ImageFormat(image_format))
    assert image_file(image.copy(), ImageFormat(image_format)) == data
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.mode, picture.size) == (image_format.upper(), "RGB", (64, 48))
        error = np.mean((np.asarray(picture, np.float64) - image) ** 2)
    psnr = np.inf if error == 0 else 10 * np.log10(255**2 / error)
    assert psnr >= least_psnr


def test_every_format_has_a_suffix() -> None:
    assert SUFFIXES.keys() == set(ImageFormat)
