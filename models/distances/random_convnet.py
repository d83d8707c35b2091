"""Image features that need no download: a convolutional network with fixed random weights.

Random features tell images apart less finely than learnt ones, but they rank the states of one training sensibly, and
they are the same everywhere. Their distances are far from those by Inception, and never to be compared with them.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAME = "random-convnet-v1"
SIDE = 64
_WIDTHS = (32, 64, 128, 48)
_SEED = 20_201_206


class RandomConvnet(nn.Module):
    """Four strided layers; the features are means and deviations of the finer maps and a 2×2 layout of the last."""

    name = NAME
    dimensions = 2 * 32 + 2 * 64 + 128 + 4 * 48

    def __init__(self) -> None:
        super().__init__()
        random = np.random.Generator(np.random.Philox(_SEED))
        self.weights = nn.ParameterList()
        channels = 3
        for level, width in enumerate(_WIDTHS):
            kernel = 5 if level == 0 else 3
            # Sums of four uniforms: the same bits on every platform, unlike a normal's logarithms.
            shape = (width, channels, kernel, kernel)
            weight = random.random((4, *shape)).sum(axis=0) - 2
            if level == 0:
                # Half of the first filters see no flat colour: edges count as much as brightness.
                weight[::2] -= weight[::2].mean(axis=(2, 3), keepdims=True)
            norm = np.sqrt(np.square(weight).sum(axis=(1, 2, 3), keepdims=True))
            self.weights.append(nn.Parameter(torch.from_numpy(weight / norm * math.sqrt(2)).float(), False))
            channels = width

    def forward(self, images: Tensor) -> Tensor:
        """float32 images (B, 3, R, R) in [-1, 1] → features (B, `dimensions`); any R, resampled to 64² first."""
        x = images
        if x.shape[-1] != SIDE:
            mode = "area" if x.shape[-1] > SIDE else "bilinear"
            x = F.interpolate(x, (SIDE, SIDE), mode=mode)
        maps = []
        for weight in self.weights:
            padding = weight.shape[-1] // 2
            x = F.relu(F.conv2d(F.pad(x, (padding,) * 4, mode="reflect"), weight, stride=2))
            maps.append(x)
        places = (2, 3)
        spread = [m.std(dim=places) for m in maps[:2]]
        layout = F.adaptive_avg_pool2d(maps[3], 2).flatten(1)
        return torch.cat([*(m.mean(dim=places) for m in maps[:3]), *spread, layout], dim=1)
