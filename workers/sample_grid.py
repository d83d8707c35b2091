"""A generator at a glance: a grid of its samples."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from models.device import fast_precision
from models.generator import Generator
from models.pictures import grid, to_uint8
from workers.png import image_png

TRUNCATIONS = (0.7,)
"""Those drawn when a generator is published: a picture of 1024 pixels takes a CPU seconds."""

_TILE_SIDE = 256
_SEED = 0
_MOST_CLASSES = 10
_PIXELS_AT_ONCE = 2**18


@torch.inference_mode()
def sample_grid(generator: Generator, truncation: float, watch: Callable[[], None] | None = None) -> bytes:
    """PNG of samples at truncation psi, in tiles of at most 256 pixels a side; the same latents at any psi.

    A conditional generator gets a row for each of its first ten classes, with the same latents in each row. `watch` is
    called between batches, and may raise.
    """
    architecture = generator.architecture
    device = generator.mapping.w_avg.device
    columns, rows = (6, 4) if architecture.resolution <= _TILE_SIDE else (3, 2)
    random = torch.Generator().manual_seed(_SEED)
    c = None
    if architecture.c_dim:
        rows = min(architecture.c_dim, _MOST_CLASSES)
        z = torch.randn(columns, architecture.z_dim, generator=random).repeat(rows, 1)
        c = generator.mapping.one_hot(torch.arange(rows).repeat_interleave(columns))
    else:
        z = torch.randn(rows * columns, architecture.z_dim, generator=random)
    w = generator.mapping(z.to(device), truncation, c)
    tiles = []
    for codes in generator.broadcast(w).split(max(1, min(16, _PIXELS_AT_ONCE // architecture.resolution**2))):
        # By a name, the features would be kept while the next ones are made.
        images = generator.synthesis(codes, fast_precision(device))[0]
        tiles += [_tile(image) for image in to_uint8(images)]
        if watch:
            watch()
    return image_png(grid(np.stack(tiles), columns))


def _tile(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    side = min(len(image), _TILE_SIDE)
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
