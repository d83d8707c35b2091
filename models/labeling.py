"""The labeler's inference kernel: what `Labeler.label` says, at a cost near that of the bare image."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from models.fused_labeling import fused
from models.heads.attributes import decide
from models.heads.keypoints import keypoints_of, points_uncertainty
from models.heads.segmentation import ignore_most_uncertain
from models.heads.uncertainty import CLASS, DEPTH, KEYPOINTS, SEGMENTATION, mean_of_worst
from models.label_maps import LabelMaps
from models.labeler import Labeler, Labels
from models.pixel_network import PixelNetwork

BUDGET_BYTES = {"cpu": 48 * 2**20, "cuda": 2**30}
"""What a tile and its intermediate results may take: on a CPU somewhat more than the last level of cache, because more
calls of smaller matrix products cost more than they save; on a GPU a small part of its memory."""


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
        self.budget_bytes = budget_bytes or BUDGET_BYTES[self.device.type]
        self.precision = precision
        self.fused = fused(labeler, precision)
        if self.fused is None:
            _ = self.network  # made now: a GPU is waited for while weights are brought to it

    @cached_property
    def network(self) -> PixelNetwork:
        """Layer by layer: where the network is not fused, and for outputs that are to be looked at."""
        return PixelNetwork(self.labeler, self.precision, self.budget_bytes)

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
    def confidence(self, features: list[Tensor]) -> Tensor | None:
        """The members' mean probability of the class that each pixel is given, float32 (B, H, W) in (0, 1]; None where
        no classes are told apart."""
        side, classes = self.architecture.resolution, self.architecture.layout.classes
        if not classes:
            return None
        found = torch.empty((len(features[0]), side, side), device=self.device)
        for tile in self.network.tiles(features):
            found[tile.images, tile.rows] = tile.outputs[:, :classes].softmax(dim=1).mean(dim=0).amax(dim=0)
        return found

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
        together = self.fused.together(self.budget_bytes) if self.fused else self.network.decoded
        maps = LabelMaps(self.architecture, len(features[0]), together, self.device)
        points: list[tuple[Tensor, Tensor]] = []
        for images in self._fill(features, maps):
            if visibility is not None:
                seen = visibility[images]
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

    def _fill(self, features: list[Tensor], maps: LabelMaps) -> Iterator[slice]:
        """Fill the maps; yields which images are complete, whose heatmaps stay until the next ones."""
        if self.fused:
            yield from self.fused.fill(features, maps)
            return
        for tile in self.network.tiles(features):
            maps.take(tile)
            if tile.rows.stop == self.architecture.resolution:
                yield tile.images
