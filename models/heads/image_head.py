"""The labels of an image as a whole: each member has a small MLP over what the features are on average."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UNITS = 32
"""Hidden units of a member. Few, since there are at most 50 images to learn from."""

SMALLEST_DEVIATION = 1e-4
"""Of a channel whose values mean something; those of most channels deviate by a tenth or more."""


def pooled(features: list[Tensor]) -> Tensor:
    """The mean over pixels of every style block's output, coarse to fine: float32 (B, ΣC)."""
    return torch.cat([feature.mean(dim=(2, 3), dtype=torch.float32) for feature in features], dim=1)


def scale_of(deviation: Tensor) -> Tensor:
    """What channels of these standard deviations are divided by: 1 where they hardly vary, and so tell nothing. What
    would be blown up of a constant is how half precision rounds it."""
    return deviation.where(deviation >= SMALLEST_DEVIATION, 1.0)


class ImageHead(nn.Module):
    """M members, each ΣC → `UNITS` → outputs, with ReLU between; pooled features are standardised first."""

    center: Tensor
    scale: Tensor

    def __init__(self, channels: int, members: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(members, UNITS, channels) * math.sqrt(2 / channels))
        self.first_bias = nn.Parameter(torch.zeros(members, UNITS))
        self.last = nn.Parameter(torch.randn(members, outputs, UNITS) / math.sqrt(UNITS))
        self.last_bias = nn.Parameter(torch.zeros(members, outputs))
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def standardise(self, values: Tensor) -> None:
        """Take mean and deviation of every channel from the pooled features (N, ΣC) of several images."""
        self.center.copy_(values.mean(dim=0))
        deviation = values.std(dim=0, correction=0)
        # Of one image nothing is known about how much the channels vary.
        self.scale.copy_(scale_of(deviation) if len(values) > 1 else torch.ones_like(deviation))

    def forward(self, values: Tensor) -> Tensor:
        """Pooled features (B, ΣC) → (B, M, outputs)."""
        x = (values - self.center) / self.scale
        x = F.relu(torch.einsum("bc,muc->bmu", x, self.first) + self.first_bias)
        return torch.einsum("bmu,mou->bmo", x, self.last) + self.last_bias
