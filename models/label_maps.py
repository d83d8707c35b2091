"""What is known of the pixels of a batch once the members were asked."""

import math

import torch
from torch import Tensor

from models.labeler import LabelerArchitecture
from models.pixel_network import Tile

SMALLEST_PROBABILITY = 1e-30
"""Keeps 0·log 0 at 0."""

LOG2_E = math.log2(math.e)
"""On CPUs, PyTorch takes powers of two in less than half the time of powers of e."""


class LabelMaps:
    """What is known of the pixels of a batch, filled tile by tile: masks uint8 and divergence (B, H, W) of the
    segmentation; mean and spread of the standardised depth (B, H, W); heatmaps (images, M, P, H, W) of a tile."""

    def __init__(self, architecture: LabelerArchitecture, batch: int, together: int, device: torch.device) -> None:
        self.layout, side = architecture.layout, architecture.resolution
        segmented, deep = batch if self.layout.classes else 0, batch if self.layout.depth is not None else 0
        self.masks = torch.empty(segmented, side, side, dtype=torch.uint8, device=device)
        self.divergence = torch.empty(segmented, side, side, device=device)
        self.depth = torch.empty(deep, side, side, device=device)
        self.depth_spread = torch.empty(deep, side, side, device=device)
        shape = (min(batch, together), architecture.members, self.layout.points, side, side)
        self.heatmaps = torch.empty(shape, device=device)

    def take(self, tile: Tile) -> None:
        """Keep what a tile's outputs say; they are overwritten."""
        classes, points = self.layout.classes, self.layout.points
        images, rows, outputs = tile.images, tile.rows, tile.outputs
        if classes:
            index, divergence = vote_and_diverge(outputs[:, :classes])
            self.masks[images, rows] = index
            self.divergence[images, rows] = divergence
        if points:
            heatmaps = outputs[:, classes : classes + points].permute(2, 0, 1, 3, 4)
            self.heatmaps[: len(heatmaps), :, :, rows] = heatmaps
        if self.layout.depth is not None:
            depths = outputs[:, -1]
            mean = depths.mean(dim=0)
            self.depth[images, rows] = mean
            self.depth_spread[images, rows] = (depths - mean).square_().mean(dim=0).sqrt_()


def vote_and_diverge(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The class of the members' largest mean probability, the first of equal ones, and their Jensen-Shannon divergence.

    Args:
        logits: float32 (M, K, …) of at most 256 classes, overwritten.

    Returns:
        uint8 and float32 (…).
    """
    members, last = len(logits), logits.shape[1] - 1
    log_p = logits.log_softmax(dim=1)
    p = torch.mul(log_p, LOG2_E, out=logits).exp2_()
    divergence = log_p.mul_(p).sum(dim=(0, 1)).div_(members)
    mean = p.sum(dim=0).div_(members)
    divergence -= mean.clamp(min=SMALLEST_PROBABILITY).log_().mul_(mean).sum(dim=0)
    # On a CPU, finding places along a leading axis takes several times as long as finding values.
    place = torch.arange(last, -1, -1, dtype=mean.dtype, device=mean.device).view(-1, *[1] * (mean.dim() - 1))
    index = last - mean.eq_(mean.amax(dim=0)).mul_(place).amax(dim=0)
    return index.to(torch.uint8), divergence.clamp_(min=0)
