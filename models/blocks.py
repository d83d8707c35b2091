"""Layers that the discriminator and the encoder share: convolutions with the equalised learning rate."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generator import LRELU_GAIN, LRELU_SLOPE


class EqualizedConv(nn.Module):
    """Convolution with the equalised learning rate, then a leaky ReLU of gain √2 unless `activate` is False."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, bias: bool = True, activate: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.gain = 1 / math.sqrt(in_channels * kernel * kernel)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) → (B, O, H, W) in the precision of x."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        x = F.conv2d(x, (self.weight * self.gain).to(x.dtype), bias, padding=self.weight.shape[-1] // 2)
        return F.leaky_relu(x, LRELU_SLOPE).mul_(LRELU_GAIN) if self.activate else x


class DownBlock(nn.Module):
    """StyleGAN2's residual block: two 3×3 convolutions and a 1×1 skip, halving the resolution by averaging."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = EqualizedConv(in_channels, in_channels, 3)
        self.conv1 = EqualizedConv(in_channels, out_channels, 3)
        self.skip = EqualizedConv(in_channels, out_channels, 1, bias=False, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) → (B, O, H/2, W/2)."""
        y = self.conv1(F.avg_pool2d(self.conv0(x), 2))
        total: Tensor = y + self.skip(F.avg_pool2d(x, 2))
        return total.mul_(math.sqrt(0.5))
