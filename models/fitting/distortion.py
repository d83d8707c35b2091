"""Distorting images for training: one affine map and perhaps a mirroring an image, then colour and noise."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.device import sent


@dataclass(frozen=True)
class Strength:
    """scale: factor up to which images grow or shrink. turn: largest rotation in degrees. shift: largest shift, as a
    share of the side. gain, contrast, tint: largest relative change of brightness, contrast and each colour channel.
    noise: largest standard deviation of the noise, images spanning [-1, 1]."""

    scale: float = 1.25
    turn: float = 20.0
    shift: float = 0.1
    gain: float = 0.3
    contrast: float = 0.3
    tint: float = 0.15
    noise: float = 0.06


@dataclass(frozen=True)
class Maps:
    """Where each of B images goes. flip: bool (B,). scale: (B,), what it is zoomed by. matrix (B, 2, 2) and shift
    (B, 2): from a place in the result to the place in the source it is taken from, both in [-1, 1]: x = A y + s."""

    flip: Tensor
    scale: Tensor
    matrix: Tensor
    shift: Tensor

    @staticmethod
    def draw(count: int, strength: Strength, random: torch.Generator, flips: bool = True) -> "Maps":
        """Maps on the CPU, one in two with a mirroring left to right where `flips` allows."""

        def between(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(count, *shape, generator=random)

        flip = (torch.rand(count, generator=random) < 0.5) & flips
        scale = torch.exp(between(-1, 1) * math.log(strength.scale))
        turn = between(-1, 1) * math.radians(strength.turn)
        shift = between(-2 * strength.shift, 2 * strength.shift, 2)
        cosine, sine, mirror = torch.cos(turn) / scale, torch.sin(turn) / scale, torch.where(flip, -1.0, 1.0)
        matrix = torch.stack([torch.stack([mirror * cosine, -mirror * sine], 1), torch.stack([sine, cosine], 1)], 1)
        return Maps(flip, scale, matrix, shift)

    def places(self, side: int, device: torch.device) -> Tensor:
        """What `grid_sample` takes, (B, side, side, 2); places outside [-1, 1] are outside the source."""
        theta = sent(torch.cat([self.matrix, self.shift[:, :, None]], dim=2), device)
        return F.affine_grid(theta, [len(theta), 1, side, side], align_corners=False)


def taken(maps: Tensor, places: Tensor, mode: str) -> Tensor:
    """Values of maps (B, C, H, W) at `Maps.places`, `bilinear` or `nearest`; those of the border go on outside."""
    return F.grid_sample(maps, places, mode, "border", align_corners=False)


def recolored(images: Tensor, strength: Strength, random: torch.Generator) -> Tensor:
    """Images float32 (B, 3, H, W) in [-1, 1] in another light, with noise."""
    count = len(images)

    def factor(largest: float, channels: int = 1) -> Tensor:
        return sent(1 + largest * (2 * torch.rand(count, channels, 1, 1, generator=random) - 1), images.device)

    light = (images + 1) * factor(strength.gain) * factor(strength.tint, 3)
    mean = light.mean(dim=(1, 2, 3), keepdim=True)
    light = (light - mean) * factor(strength.contrast) + mean
    deviation = sent(strength.noise * torch.rand(count, 1, 1, 1, generator=random), images.device)
    noise = sent(torch.randn(images.shape, generator=random), images.device)
    return (light - 1 + deviation * noise).clamp(-1, 1)
