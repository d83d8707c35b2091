"""The images a generator is trained on: toy bears, or a folder of pictures, held as one uint8 array."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.bears import render

SUFFIXES = (".png", ".jpg", ".jpeg")

TRAINING_SEEDS = 1_000_000
"""Training bears have this seed and those that follow; seeds below are for projects, demos and evaluation."""


def render_training_bears(
    count: int, size: int, cache: Path, progress: Callable[[int, int], None] | None = None
) -> npt.NDArray[np.uint8]:
    """`count` bears as (count, size, size, 3), rendered once and kept in `cache` as an npy file.

    Args:
        progress: called with images done and images in all.
    """
    path = cache / f"bears-{size}-{count}.npy"
    if path.exists():
        stored: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r")
        return stored
    images = np.empty((count, size, size, 3), dtype=np.uint8)
    for start in range(0, count, 256):
        stop = min(start + 256, count)
        images[start:stop] = render(range(TRAINING_SEEDS + start, TRAINING_SEEDS + stop), size).images
        if progress:
            progress(stop, count)
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, images)
    partial.replace(path)
    return images


def load_folder(folder: Path, size: int) -> npt.NDArray[np.uint8]:
    """Every PNG and JPEG below `folder`, its short side resized to `size` and its centre cropped: (N, size, size, 3).

    Raises:
        ValueError: no image is there, or one cannot be read; the message names the file.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{folder}: no PNG or JPEG image in it")
    images = np.empty((len(paths), size, size, 3), dtype=np.uint8)
    for row, path in zip(images, paths, strict=True):
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as file:
                picture = file.convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path}: not a readable PNG or JPEG image ({error})") from error
        scale = size / min(picture.size)
        width, height = (max(size, round(side * scale)) for side in picture.size)
        left, top = (width - size) // 2, (height - size) // 2
        resized = picture.resize((width, height), Image.Resampling.LANCZOS)
        row[:] = np.asarray(resized.crop((left, top, left + size, top + size)))
    return images
