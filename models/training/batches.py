"""Random batches of the images a generator is trained on."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.device import sent


def draw_batch(
    images: npt.NDArray[np.uint8], random: np.random.Generator, batch: int, mirror: bool, device: torch.device
) -> Tensor:
    """A random batch, float32 (batch, 3, H, W) in [-1, 1]; with `mirror` each is flipped with probability one half."""
    # Read in order, which a file likes, then shuffled: the discriminator compares neighbours of a batch.
    rows = images[np.sort(random.integers(len(images), size=batch))][random.permutation(batch)]
    if mirror:
        flipped = random.random(batch) < 0.5
        rows = np.where(flipped[:, None, None, None], rows[:, :, ::-1], rows)
    pixels = sent(torch.from_numpy(np.ascontiguousarray(rows)), device).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1
