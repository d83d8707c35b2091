"""Which pixels of large seeds a labeler learns from.

A step over whole images of 512 × 512 would see a million pixels, of which neighbours say nearly the same. So large
images are seen at the crossings of some rows and columns, each drawn from a band of its own: no part of the image is
left out, and since bilinear upsampling is separable, what lies at the crossings comes from two small matrix products.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from models.device import sent
from models.upsampling import interpolation


@dataclass(frozen=True)
class Lattice:
    """Some pixels of each of N images. rows, columns: int64 (N, side), increasing. resolution: of the images."""

    rows: Tensor
    columns: Tensor
    resolution: int

    @staticmethod
    def draw(images: int, resolution: int, side: int, seed: int, device: torch.device) -> "Lattice":
        """Bands of equal height and width (to a pixel), in each a row or column at random; `side` of them, at most as
        many as there are pixels."""
        random = torch.Generator().manual_seed(seed)
        borders = torch.arange(side + 1) * resolution // side
        widths = borders.diff()

        def drawn() -> Tensor:
            return (borders[:-1] + (torch.rand(images, side, generator=random) * widths).long()).to(device)

        return Lattice(drawn(), drawn(), resolution)

    @property
    def side(self) -> int:
        """How many rows there are, and columns."""
        return self.rows.shape[1]

    def of(self, images: Tensor) -> "Lattice":
        """The same pixels of some of the images, int64 indices."""
        chosen = sent(images, self.rows.device)
        return Lattice(self.rows[chosen], self.columns[chosen], self.resolution)

    def pick(self, maps: Tensor) -> Tensor:
        """The values of maps (N, H, W) of all pixels: (N, side, side)."""
        images = torch.arange(len(maps), device=maps.device)
        return maps[images[:, None, None], self.rows[:, :, None], self.columns[:, None, :]]

    def sample(self, x: Tensor) -> Tensor:
        """What maps (N, C, r, r) are at the pixels when they are upsampled, bilinear with `align_corners=False`:
        (N, C, side, side), channels last."""
        x = x.permute(0, 3, 2, 1)
        if x.shape[1] == self.resolution:
            images = torch.arange(len(x), device=x.device)
            return x[images[:, None, None], self.columns[:, None, :], self.rows[:, :, None]].permute(0, 3, 1, 2)
        across = _taken(x, self.columns, self.resolution).transpose(1, 2)
        return _taken(across, self.rows, self.resolution).permute(0, 3, 1, 2)

    def spread(self, x: Tensor) -> Tensor:
        """`sample` of maps below `side` pixels a side; others are the lattice's values already."""
        return self.sample(x) if x.shape[-1] < self.side else x


def _taken(x: Tensor, places: Tensor, resolution: int) -> Tensor:
    """Maps (N, r, s, C) upsampled along their second axis, at `places` (N, side) of it: (N, side, s, C)."""
    weights = _weights(x.shape[1], resolution, x.dtype, x.device)[places]
    taken: Tensor = torch.bmm(weights, x.flatten(2)).unflatten(2, x.shape[2:])
    return taken


@lru_cache(maxsize=32)
def _weights(side: int, resolution: int, precision: torch.dtype, device: torch.device) -> Tensor:
    """`interpolation`, kept from step to step."""
    with torch.inference_mode(False):  # wherever it is made first, gradients pass through it later
        return interpolation(side, resolution).to(device, precision)
