"""The augmentation that every source is trained with: strong enough that the seeds alone make a fair baseline.

One affine map and one mirroring an image, for image and labels alike; then colour and noise for the image.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.bears.scene import KEYPOINT_MIRROR
from models.heads.segmentation import IGNORED


@dataclass(frozen=True)
class Batch:
    """images: float32 (B, 3, R, R) in [-1, 1]. masks: int64 (B, R, R), 255 unknown. keypoints: float32 (B, P, 3).
    depth: float32 (B, R, R), NaN unknown. attributes: int64 (B, A). None for what the source lacks."""

    images: Tensor
    masks: Tensor | None
    keypoints: Tensor | None
    depth: Tensor | None
    attributes: Tensor | None


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


def distort(batch: Batch, strength: Strength, random: torch.Generator) -> Batch:
    """A distorted copy. Pixels that come from outside the image are unknown to every label.

    To the same camera, what is twice as large is half as far away: depth is divided by what the image is zoomed by
    (Yin et al., "Metric3D", ICCV 2023, section 3.1, there of resized images).
    """
    images = batch.images
    count, side = len(images), images.shape[-1]

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=random)

    flip = torch.rand(count, generator=random) < 0.5
    scale = torch.exp(between(-1, 1) * math.log(strength.scale))
    turn = between(-1, 1) * math.radians(strength.turn)
    shift = between(-2 * strength.shift, 2 * strength.shift, 2)
    # From a place in the result to the place in the source it is taken from, in [-1, 1]: x = A y + s.
    cosine, sine, mirror = torch.cos(turn) / scale, torch.sin(turn) / scale, torch.where(flip, -1.0, 1.0)
    matrix = torch.stack([torch.stack([mirror * cosine, -mirror * sine], 1), torch.stack([sine, cosine], 1)], 1)
    theta = torch.cat([matrix, shift[:, :, None]], dim=2)
    places = F.affine_grid(theta, [count, 1, side, side], align_corners=False)
    outside = (places.abs() > 1).any(dim=-1)

    moved = F.grid_sample(images, places, "bilinear", "border", align_corners=False)
    masks, points, depth = None, None, None
    if batch.masks is not None:
        masks = F.grid_sample(batch.masks[:, None].float(), places, "nearest", "border", align_corners=False)[:, 0]
        masks = masks.long().masked_fill(outside, IGNORED)
    if batch.depth is not None:
        depth = F.grid_sample(batch.depth[:, None], places, "nearest", "border", align_corners=False)[:, 0]
        depth = (depth / scale[:, None, None]).masked_fill(outside, torch.nan)
    if batch.keypoints is not None:
        points = _move_points(batch.keypoints, matrix, shift, flip, side)
    return Batch(_recolor(moved, strength, random), masks, points, depth, batch.attributes)


def _move_points(points: Tensor, matrix: Tensor, shift: Tensor, flip: Tensor, side: int) -> Tensor:
    """Points where the map takes them; left and right are exchanged where it mirrors. Those outside are unlabeled."""
    mirrored = points[:, torch.as_tensor(KEYPOINT_MIRROR)]
    points = torch.where(flip[:, None, None], mirrored, points)
    source = 2 * points[..., :2] / side - 1
    target = torch.linalg.solve(matrix[:, None], (source - shift[:, None]).unsqueeze(-1)).squeeze(-1)
    inside = (target.abs() < 1).all(dim=-1)
    return torch.cat([(target + 1) * side / 2, (points[..., 2] * inside).unsqueeze(-1)], dim=-1)


def _recolor(images: Tensor, strength: Strength, random: torch.Generator) -> Tensor:
    count = len(images)

    def factor(largest: float, channels: int = 1) -> Tensor:
        return 1 + largest * (2 * torch.rand(count, channels, 1, 1, generator=random) - 1)

    light = (images + 1) * factor(strength.gain) * factor(strength.tint, 3)
    mean = light.mean(dim=(1, 2, 3), keepdim=True)
    light = (light - mean) * factor(strength.contrast) + mean
    deviation = strength.noise * torch.rand(count, 1, 1, 1, generator=random)
    return (light - 1 + deviation * torch.randn(images.shape, generator=random)).clamp(-1, 1)
