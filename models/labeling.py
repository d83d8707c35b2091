"""The labeler's inference kernel: what `Labeler.label` says, at a cost near that of the bare image."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from models.heads.attributes import decide
from models.heads.keypoints import keypoints_of, points_uncertainty
from models.heads.segmentation import ignore_most_uncertain
from models.heads.uncertainty import CLASS, DEPTH, KEYPOINTS, SEGMENTATION, mean_of_worst
from models.labeler import Labeler, LabelerArchitecture, Labels
from models.pixel_network import PixelNetwork, Tile

BUDGET_BYTES = {"cpu": 48 * 2**20, "cuda": 2**30}
"""What a tile and its intermediate results may take: on a CPU somewhat more than the last level of cache, because more
calls of smaller matrix products cost more than they save; on a GPU a small part of its memory."""

SMALLEST_PROBABILITY = 1e-30
"""Keeps 0·log 0 at 0."""

LOG2_E = math.log2(math.e)
"""On CPUs, PyTorch takes powers of two in less than half the time of powers of e."""


class LabelingKernel:
    """Labels batches of features with one labeler. It keeps its buffers: one caller at a time.

    What it says of an image depends neither on the image's place in a batch nor on its neighbours. When a GPU runs out
    of memory, it works in tiles half as large from then on.
    """

    def __init__(self, labeler: Labeler, precision: torch.dtype, budget_bytes: int | None = None) -> None:
        """
        Args:
            labeler: frozen, on the device to compute on; a later change of its weights is not seen.
            precision: of features and hidden layers; what comes out of them is float32.
            budget_bytes: bound on the working memory beside features and labels; by default what suits the device.
        """
        self.labeler, self.architecture = labeler, labeler.architecture
        self.device = labeler.thresholds.device
        self.network = PixelNetwork(labeler, precision, budget_bytes or BUDGET_BYTES[self.device.type])

    @torch.inference_mode()
    def label(self, features: list[Tensor], ignore_fraction: float = 0.0) -> Labels:
        """Labels and uncertainty of a batch.

        Args:
            features: the style blocks' outputs, coarse to fine, (B, C, r, r); channels last is fastest.
            ignore_fraction: share of each image's pixels, the most uncertain ones, whose mask becomes 255.
        """
        while True:
            try:
                labels = self._label(features)
                break
            except torch.OutOfMemoryError:
                if self.network.is_smallest:
                    raise
            # Only here has the exception let go of what was being worked on.
            torch.cuda.empty_cache()
            self.network.halve()
        if ignore_fraction > 0 and labels.masks is not None and labels.pixel_uncertainty is not None:
            masks = ignore_most_uncertain(labels.masks, labels.pixel_uncertainty, ignore_fraction)
            return replace(labels, masks=masks)
        return labels

    @torch.inference_mode()
    def pixel_outputs(self, features: list[Tensor]) -> Tensor:
        """Every member's outputs for each pixel, float32 (B, M, K + P + D, H, W): all at once, for comparison."""
        side = self.architecture.resolution
        shape = (len(features[0]), self.architecture.members, self.architecture.pixel_outputs, side, side)
        everything = torch.empty(shape, device=self.device)
        for tile in self.network.tiles(features):
            everything[tile.images, :, :, tile.rows] = tile.outputs.permute(2, 0, 1, 3, 4)
        return everything

    def _label(self, features: list[Tensor]) -> Labels:
        layout = self.architecture.layout
        visibility, of_attributes = self.labeler.of_whole_images(features)
        maps = _Maps(self.architecture, len(features[0]), self.network.decoded, self.device)
        points: list[tuple[Tensor, Tensor]] = []
        for tile in self.network.tiles(features):
            maps.take(tile)
            if visibility is not None and tile.rows.stop == self.architecture.resolution:
                seen = visibility[tile.images]
                heatmaps = maps.heatmaps[: len(seen)]
                points.append((keypoints_of(heatmaps, seen), points_uncertainty(heatmaps, seen)))
        kinds: dict[str, Tensor] = {}
        masks = keypoints = depth = attributes = divergence = None
        if layout.classes:
            masks, divergence = maps.masks, maps.divergence
            kinds[SEGMENTATION] = mean_of_worst(divergence)
        if layout.points:
            keypoints, kinds[KEYPOINTS] = (torch.cat(of_images) for of_images in zip(*points, strict=True))
        if (limits := layout.depth) is not None:
            scale = self.labeler.depth_scale
            depth = (maps.depth * scale + self.labeler.depth_center).clamp_(*limits)
            kinds[DEPTH] = mean_of_worst(maps.depth_spread.mul_(scale))
        if of_attributes:
            attributes, kinds[CLASS] = decide(of_attributes)
        return Labels(masks, keypoints, depth, attributes, self.labeler.combined(kinds), kinds, divergence)


class _Maps:
    """What is known of the pixels of a batch, filled tile by tile: masks uint8 and divergence (B, H, W) of the
    segmentation; mean and spread of the standardised depth (B, H, W); heatmaps (images, M, P, H, W) of a tile."""

    def __init__(self, architecture: LabelerArchitecture, batch: int, decoded: int, device: torch.device) -> None:
        self.layout, side = architecture.layout, architecture.resolution
        segmented, deep = batch if self.layout.classes else 0, batch if self.layout.depth is not None else 0
        self.masks = torch.empty(segmented, side, side, dtype=torch.uint8, device=device)
        self.divergence = torch.empty(segmented, side, side, device=device)
        self.depth = torch.empty(deep, side, side, device=device)
        self.depth_spread = torch.empty(deep, side, side, device=device)
        shape = (min(batch, decoded), architecture.members, self.layout.points, side, side)
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
