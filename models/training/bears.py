"""Toy bears to train on, rendered once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.bears import render
from models.training.images import TrainingImages

TRAINING_SEEDS = 1_000_000
"""Training bears have this seed and those that follow; seeds below are for projects, demos and evaluation."""


def render_training_bears(
    count: int,
    size: int,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
    dressed: bool = False,
) -> TrainingImages:
    """`count` bears of `size` pixels a side, rendered once and kept in `cache` as an npy file.

    Args:
        dressed: with accessories.
        progress: called with images done and images in all.
    """
    path = cache / f"{'dressed-' if dressed else ''}bears-{size}-{count}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        images = np.lib.format.open_memmap(partial, "w+", np.uint8, (count, size, size, 3))
        for start in range(0, count, 256):
            stop = min(start + 256, count)
            images[start:stop] = render(
                range(TRAINING_SEEDS + start, TRAINING_SEEDS + stop), size, dressed=dressed
            ).images
            if progress:
                progress(stop, count)
        images.flush()
        partial.replace(path)
    stored: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return TrainingImages(stored, path, None)
