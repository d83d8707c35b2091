"""The labeler's inference kernel: what `Labeler.label` says, at a cost near that of the bare image.

`Labeler.label` builds the first layer of all members at full resolution, hundreds of megabytes that every step reads
and writes again. Here a band of rows at a time goes all the way from features to labels while it is in cache. Features
lie channels last, so every 1×1 convolution is a matrix product over pixels: levels below the full resolution are
projected at their own, widened across, and one small product with interpolation weights sums and upsamples all of them
down the band; the levels of full resolution are accumulated onto that; then members follow by batched products.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from models.folding import MemberGroup, fold
from models.heads.attributes import decide
from models.heads.keypoints import keypoints_of, points_uncertainty
from models.heads.segmentation import ignore_most_uncertain
from models.heads.uncertainty import CLASS, DEPTH, KEYPOINTS, SEGMENTATION, mean_of_worst
from models.labeler import Labeler, LabelerArchitecture, Labels
from models.upsampling import Band, bands, widen

BUDGET_BYTES = {"cpu": 24 * 2**20, "cuda": 2**30}
"""What a band and its intermediate results may take: on a CPU about the last level of cache, on a GPU a small part of
its memory."""

LARGEST_WHOLE = 8 * 2**20
"""Bytes of the coarse sides, of one image or more, that are projected at once instead of band by band, with a halo."""


SMALLEST_PROBABILITY = 1e-30
"""Keeps 0·log 0 at 0."""


class LabelingKernel:
    """Labels batches of features with one labeler. It keeps its buffers: one caller at a time.

    The height of a band depends on shapes and budget alone, and images go through it one by one: what is said of an
    image does not depend on its place in a batch or on its neighbours. When a GPU runs out of memory, bands are half as
    high from then on.
    """

    def __init__(self, labeler: Labeler, precision: torch.dtype, budget_bytes: int | None = None) -> None:
        """
        Args:
            labeler: frozen, on the device to compute on; a later change of its weights is not seen.
            precision: of features and hidden layers; outputs and everything made of them are float32.
            budget_bytes: bound on the working memory beside the labels; one row is worked on, whatever it takes.
        """
        self.labeler, self.precision = labeler, precision
        self.device = labeler.thresholds.device
        self.architecture = labeler.architecture
        self.groups = fold(labeler, precision)
        self.budget = budget_bytes or BUDGET_BYTES[self.device.type]
        self._levels: dict[int, list[int]] = {}
        for level, side in enumerate(self.architecture.feature_sides):
            self._levels.setdefault(side, []).append(level)
        self._below = sorted(side for side in self._levels if side < self.architecture.resolution)
        self._whole, self._together = self._choose_whole()
        self._plan(self._largest_height())

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
                if self.height == 1:
                    raise
                torch.cuda.empty_cache()
                self._plan(-(-self.height // 2))
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
        for image, band, outputs in self._outputs(features):
            everything[image, :, :, band.rows] = outputs
        return everything

    def _choose_whole(self) -> tuple[list[int], int]:
        """The coarse sides that are projected whole, and for how many images at once."""
        width = sum(group.width for group in self.groups)
        whole, size = [], 0
        for side in self._below:
            more = side**2 * width * self.precision.itemsize
            if size + more > LARGEST_WHOLE:
                break
            whole.append(side)
            size += more
        return whole, max(1, LARGEST_WHOLE // max(1, size))

    def _largest_height(self) -> int:
        """The power of two of rows whose band fits into the budget, at least one."""
        resolution, height = self.architecture.resolution, 1
        while 2 * height <= resolution and self._band_bytes(2 * height) <= self.budget:
            height *= 2
        return height if 2 * height <= resolution else resolution

    def _band_bytes(self, height: int) -> int:
        """Of a band's buffers, with what its hidden layers and its decoding take at most."""
        if not self.groups:
            return 0
        resolution, architecture = self.architecture.resolution, self.architecture
        widest = max(group.width for group in self.groups)
        sources = 1 + sum(min(side, height * side // resolution + 2) for side in self._below)
        expanded = architecture.members * architecture.hidden[0] if architecture.shared else 0
        per_pixel = ((height + sources) / height * widest + 2 * expanded) * self.precision.itemsize
        per_pixel += 3 * 4 * architecture.members * architecture.pixel_outputs
        return int(height * resolution * per_pixel)

    def _plan(self, height: int) -> None:
        """Cut the output into bands, and make the buffers of the largest."""
        self.height, resolution = height, self.architecture.resolution
        self._bands = bands(resolution, self._below, height, self.precision, self.device)
        widest = max((group.width for group in self.groups), default=0)
        sources = max(band.weights.shape[1] for band in self._bands)
        self._sources = torch.empty(sources * resolution * widest, dtype=self.precision, device=self.device)
        self._first = torch.empty(height * resolution * widest, dtype=self.precision, device=self.device)

    def _outputs(self, features: list[Tensor]) -> Iterator[tuple[int, Band, Tensor]]:
        """For each image its bands: outputs float32 (M, K + P + D, rows, W), overwritten by the next."""
        architecture = self.architecture
        pixels = [f.to(self.precision).permute(0, 2, 3, 1).contiguous() for f in features] if self.groups else []
        rows, columns = self.height, architecture.resolution
        everything = torch.empty(
            architecture.members, architecture.pixel_outputs, rows * columns, dtype=torch.float32, device=self.device
        )
        batch = len(features[0]) if self.groups else 0
        for start in range(0, batch, self._together):
            some = [level[start : start + self._together] for level in pixels]
            whole = [self._project_whole(group, some) for group in self.groups]
            for place in range(len(some[0])):
                own = [level[place] for level in some]
                for band in self._bands:
                    outputs = everything[:, :, : band.height * columns]
                    for group, of_images in zip(self.groups, whole, strict=True):
                        known = {side: projected[place] for side, projected in of_images.items()}
                        self._members(group, self._first_layer(group, own, band, known), outputs[group.members])
                    yield start + place, band, outputs.unflatten(2, (band.height, columns))

    def _project_whole(self, group: MemberGroup, features: list[Tensor]) -> dict[int, Tensor]:
        """The coarse sides of several images through the first layer: side → (images, side, side, N)."""
        return {
            side: self._project(group, [level.flatten(0, 1) for level in features], side, slice(None)).unflatten(
                0, (-1, side)
            )
            for side in self._whole
        }

    def _project(self, group: MemberGroup, features: list[Tensor], side: int, rows: slice) -> Tensor:
        """The levels of one side through the first layer: (rows, side, N)."""
        first, *others = self._levels[side]
        total = torch.addmm(group.offsets[side], features[first][rows].flatten(0, 1), group.levels[first])
        for level in others:
            total.addmm_(features[level][rows].flatten(0, 1), group.levels[level])
        return total.view(-1, side, group.width)

    def _first_layer(self, group: MemberGroup, features: list[Tensor], band: Band, whole: dict[int, Tensor]) -> Tensor:
        """The first layer of a band after its activation, (pixels, N), in a buffer."""
        resolution, width = self.architecture.resolution, group.width
        sources = self._sources[: band.weights.shape[1] * resolution * width].view(-1, resolution, width)
        sources[0] = group.offsets[resolution]
        start = 1
        for side, rows in band.sources.items():
            projected = whole[side][rows] if side in whole else self._project(group, features, side, rows)
            widen(projected, sources[start : start + len(projected)])
            start += len(projected)
        first = self._first[: band.height * resolution * width]
        torch.mm(band.weights, sources.flatten(1), out=first.view(band.height, -1))
        first = first.view(-1, width)
        for level in self._levels.get(resolution, ()):
            first.addmm_(features[level][band.rows].flatten(0, 1), group.levels[level])
        return rectified(first)

    def _members(self, group: MemberGroup, first: Tensor, out: Tensor) -> None:
        """From the first layer (pixels, N) to the outputs of the group's members, `out` (G, K + P + D, pixels)."""
        if group.expand is not None:
            weight, bias = group.expand
            first = rectified(torch.addmm(bias, first, weight))
        x = first.unflatten(1, (len(out), -1)).transpose(0, 1)
        for weight, bias in group.hidden:
            x = rectified(torch.baddbmm(bias, x, weight))
        weight, bias = group.output
        # Float32 from here on: rounded logits would tie, and change labels.
        torch.baddbmm(bias, weight, x.float().transpose(1, 2), out=out)

    def _label(self, features: list[Tensor]) -> Labels:
        layout = self.architecture.layout
        visibility, members_attributes = self.labeler.of_whole_images(features)
        maps = _Maps(self.architecture, len(features[0]), self.device)
        points: list[tuple[Tensor, Tensor]] = []
        for image, band, outputs in self._outputs(features):
            maps.take(image, band.rows, outputs)
            if visibility is not None and band.rows.stop == self.architecture.resolution:
                heatmaps, seen = maps.heatmaps.unsqueeze(0), visibility[image : image + 1]
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
        if members_attributes:
            attributes, kinds[CLASS] = decide(members_attributes)
        return Labels(masks, keypoints, depth, attributes, self.labeler.combined(kinds), kinds, divergence)


class _Maps:
    """What is known of the pixels of a batch, filled band by band: masks uint8 and divergence (B, H, W) of the
    segmentation; mean and spread of the standardised depth (B, H, W); heatmaps (M, P, H, W) of the image at hand."""

    def __init__(self, architecture: LabelerArchitecture, batch: int, device: torch.device) -> None:
        self.layout, side = architecture.layout, architecture.resolution
        segmented, deep = batch if self.layout.classes else 0, batch if self.layout.depth is not None else 0
        self.masks = torch.empty(segmented, side, side, dtype=torch.uint8, device=device)
        self.divergence = torch.empty(segmented, side, side, device=device)
        self.depth = torch.empty(deep, side, side, device=device)
        self.depth_spread = torch.empty(deep, side, side, device=device)
        self.heatmaps = torch.empty(architecture.members, self.layout.points, side, side, device=device)

    def take(self, image: int, rows: slice, outputs: Tensor) -> None:
        """Keep what a band's outputs (M, K + P + D, rows, W) say; they are overwritten."""
        classes, points = self.layout.classes, self.layout.points
        if classes:
            self.masks[image, rows], self.divergence[image, rows] = vote_and_diverge(outputs[:, :classes])
        self.heatmaps[:, :, rows] = outputs[:, classes : classes + points]
        if self.layout.depth is not None:
            depths = outputs[:, -1]
            torch.mean(depths, dim=0, out=self.depth[image, rows])
            torch.std(depths, dim=0, correction=0, out=self.depth_spread[image, rows])


def rectified(x: Tensor) -> Tensor:
    """ReLU in place. As whole numbers, floating-point numbers keep their sign, and CPUs compare them several times as
    fast as halves, which they would convert and convert back."""
    x.view(torch.int32 if x.dtype == torch.float32 else torch.int16).clamp_(min=0)
    return x


def vote_and_diverge(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The class of the members' largest mean probability, and their Jensen-Shannon divergence.

    With the largest logit of each pixel and member at 0 and s the sum of their exponentials, a member's entropy is
    log s - Σ p·logit: one exponential for each logit, and one logarithm for each pixel and class.

    Args:
        logits: float32 (M, K, …), overwritten.

    Returns:
        int64 and float32 (…).
    """
    logits -= logits.amax(dim=1, keepdim=True)
    p = logits.exp()
    total = p.sum(dim=1, keepdim=True)
    p /= total
    negative_entropy = torch.mul(p, logits, out=logits).sum(dim=(0, 1)) - total.log_().sum(dim=(0, 1))
    mean = p.mean(dim=0)
    index = mean.max(dim=0).indices
    negative_mixed = mean.clamp(min=SMALLEST_PROBABILITY).log_().mul_(mean).sum(dim=0)
    return index, (negative_entropy / len(logits) - negative_mixed).clamp_(min=0)
