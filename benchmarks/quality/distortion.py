"""The augmentation that every source is trained with: strong enough that the seeds alone make a fair baseline.

One affine map and one mirroring an image, for image and labels alike; then colour and noise for the image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.bears.scene import KEYPOINT_MIRROR
from models.fitting.distortion import Maps, Strength, recolored, taken
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


def distort(batch: Batch, strength: Strength, random: torch.Generator) -> Batch:
    """A distorted copy. Pixels that come from outside the image are unknown to every label.

    To the same camera, what is twice as large is half as far away: depth is divided by what the image is zoomed by
    (Yin et al., "Metric3D", ICCV 2023, section 3.1, there of resized images).
    """
    images = batch.images
    side = images.shape[-1]
    maps = Maps.draw(len(images), strength, random)
    places = maps.places(side, images.device)
    outside = (places.abs() > 1).any(dim=-1)

    masks, points, depth = None, None, None
    if batch.masks is not None:
        masks = taken(batch.masks[:, None].float(), places, "nearest")[:, 0].long().masked_fill(outside, IGNORED)
    if batch.depth is not None:
        depth = taken(batch.depth[:, None], places, "nearest")[:, 0]
        depth = (depth / maps.scale[:, None, None]).masked_fill(outside, torch.nan)
    if batch.keypoints is not None:
        points = _move_points(batch.keypoints, maps, side)
    moved = recolored(taken(images, places, "bilinear"), strength, random)
    return Batch(moved, masks, points, depth, batch.attributes)


def _move_points(points: Tensor, maps: Maps, side: int) -> Tensor:
    """Points where the map takes them; left and right are exchanged where it mirrors. Those outside are unlabeled."""
    mirrored = points[:, torch.as_tensor(KEYPOINT_MIRROR)]
    points = torch.where(maps.flip[:, None, None], mirrored, points)
    source = 2 * points[..., :2] / side - 1
    target = torch.linalg.solve(maps.matrix[:, None], (source - maps.shift[:, None]).unsqueeze(-1)).squeeze(-1)
    inside = (target.abs() < 1).all(dim=-1)
    return torch.cat([(target + 1) * side / 2, (points[..., 2] * inside).unsqueeze(-1)], dim=-1)
