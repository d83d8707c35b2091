"""The residual discriminator of StyleGAN2, with minibatch standard deviation."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.architecture import Architecture
from models.blocks import DownBlock, EqualizedConv


def minibatch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """Append one channel that tells how much the images of a group differ, so that a collapse is visible.

    Args:
        x: (B, C, H, W); B must be a multiple of `group` or smaller than it.
    """
    batch, channels, height, width = x.shape
    group = min(group, batch)
    y = x.float().reshape(group, -1, channels, height, width)
    deviation = (y.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    plane = deviation.repeat(group)[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat([x, plane.to(x.dtype)], dim=1)


class Discriminator(nn.Module):
    """Images → realness logits; its blocks mirror the generator's channels."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = [architecture.channels(r) for r in reversed(architecture.resolutions)]
        self.from_rgb = EqualizedConv(3, widths[0], 1)
        self.blocks = nn.ModuleList(DownBlock(i, o) for i, o in pairwise(widths))
        last = widths[-1]
        self.conv = EqualizedConv(last + 1, last, 3)
        self.hidden = EqualizedConv(last * 16, last, 1)
        self.logit = EqualizedConv(last, 1, 1, activate=False)

    def forward(self, images: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
        """float32 images (B, 3, R, R) in [-1, 1] → float32 logits (B,); larger means more real."""
        x = images.to(precision).contiguous(memory_format=torch.channels_last)
        x = self.from_rgb(x)
        for block in self.blocks:
            x = block(x)
        x = self.conv(minibatch_deviation(x))
        x = self.hidden(x.float().flatten(1)[:, :, None, None])
        logits: Tensor = self.logit(x)
        return logits.flatten()
