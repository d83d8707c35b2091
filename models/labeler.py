"""The labeler: an ensemble of per-pixel MLPs over the hypercolumn, without building the hypercolumn.

Upsampling is linear and acts on each channel alone, and the first layer is linear over channels, so
W·concat(up(f₁) … up(f_L)) = Σ up(W_l·f_l). Every level is projected to the first layer's units at its own resolution;
levels of one resolution are added there, and each resolution is upsampled once.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.checkpoint import CheckpointError, load_tensors, save_tensors
from models.heads.attributes import decide
from models.heads.depth import depth_of, depth_spread
from models.heads.image_head import ImageHead, pooled, scale_of
from models.heads.keypoints import keypoints_of, points_uncertainty
from models.heads.segmentation import jensen_shannon, vote
from models.heads.uncertainty import (
    CLASS,
    DEPTH,
    KEYPOINTS,
    SEGMENTATION,
    combine,
    kinds_of,
    mean_of_worst,
    median_and_spread,
)
from models.labels import LabelLayout

VISIBILITIES = 3


@dataclass(frozen=True)
class LabelerArchitecture:
    """feature_channels, feature_sides: of each style block's output, coarse to fine. resolution: of the labels.
    layout: which labels there are. members: size of the ensemble. hidden: widths of the hidden layers of a member.
    shared: 0, and every member has a first layer of its own; or the width of one projection of the hypercolumn that
    comes before the members' hidden layers and serves them all."""

    feature_channels: tuple[int, ...]
    feature_sides: tuple[int, ...]
    resolution: int
    layout: LabelLayout
    members: int
    hidden: tuple[int, ...]
    shared: int = 0

    @property
    def pixel_outputs(self) -> int:
        """Outputs of a member for each pixel: class logits, then heatmap logits, then depth."""
        return self.layout.classes + self.layout.points + (self.layout.depth is not None)

    @property
    def image_outputs(self) -> int:
        """Outputs of a member for the whole image: three visibility logits a point, then each attribute's logits."""
        return VISIBILITIES * self.layout.points + sum(self.layout.attributes)


@dataclass(frozen=True)
class HeadOutputs:
    """What every member says, float32; None where the layout has no such label, or it was not asked for.

    classes: (B, M, K, H, W) logits. heatmaps: (B, M, P, H, W) logits. depth: (B, M, H, W), standardised. visibility:
    (B, M, P, 3) logits. attributes: for each attribute (B, M, V) logits.
    """

    classes: Tensor | None
    heatmaps: Tensor | None
    depth: Tensor | None
    visibility: Tensor | None
    attributes: tuple[Tensor, ...]


@dataclass(frozen=True)
class Labels:
    """The labels of a batch; a kind that the layout does not have is None.

    masks: uint8 (B, H, W), the class of the members' mean probability. keypoints: float32 (B, P, 3), x and y in pixels
    and visibility. depth: float32 (B, H, W) in the seeds' unit. attributes: int64 (B, A). kinds: for each label kind
    float32 (B,), how much the members disagree: segmentation, the mean Jensen-Shannon divergence (nats, 0 to log
    members) of the most uncertain tenth of the pixels; keypoints, the spread of the points in pixels; depth, the mean
    standard deviation of the most uncertain tenth in its unit; class, the mean divergence of the attributes.
    uncertainty: float32 (B,), all kinds in one number. pixel_uncertainty: float32 (B, H, W), the divergence of the
    segmentation.
    """

    masks: Tensor | None
    keypoints: Tensor | None
    depth: Tensor | None
    attributes: Tensor | None
    uncertainty: Tensor
    kinds: dict[str, Tensor]
    pixel_uncertainty: Tensor | None


Spread = Callable[[Tensor], Tensor]
"""Upsamples a level's part of the first layer."""


def bilinear(x: Tensor, side: int) -> Tensor:
    """Upsample (B, C, h, w) to `side` a side, bilinear with `align_corners=False`."""
    if x.shape[-1] == side:
        return x
    # A GPU adds the gradients of a pixel up one by one, in the type that they come in: those of the hundreds of pixels
    # that one of a coarse level becomes would be off by some percent in bfloat16.
    wide = x.float() if x.is_cuda else x
    return F.interpolate(wide, size=(side, side), mode="bilinear", align_corners=False).to(x.dtype)


class Labeler(nn.Module):
    """M members, each hypercolumn → hidden layers → outputs with ReLU between, evaluated side by side.

    Features are standardised per channel before the first layer; `center_*` and `scale_*` hold the statistics, those of
    depth are in `depth_center` and `depth_scale`. The ensemble also remembers how uncertain random samples were: median
    and spread of each kind, and quantiles of the whole per truncation, for the discard threshold.
    """

    thresholds: Tensor
    truncations: Tensor
    kind_median: Tensor
    kind_spread: Tensor
    depth_center: Tensor
    depth_scale: Tensor

    def __init__(self, architecture: LabelerArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.kinds = kinds_of(architecture.layout)
        members, hidden, shared = architecture.members, architecture.hidden, architecture.shared
        total = sum(architecture.feature_channels)
        first = shared or members * hidden[0]
        for level, channels in enumerate(architecture.feature_channels):
            self.register_buffer(f"center_{level}", torch.zeros(channels))
            self.register_buffer(f"scale_{level}", torch.ones(channels))
        self.project = nn.ParameterList()
        self.layers = nn.ModuleList()
        self.output: nn.Conv2d | None = None
        if architecture.pixel_outputs:
            self.project.extend(
                torch.randn(first, channels, 1, 1) * math.sqrt(2 / total) for channels in architecture.feature_channels
            )
            self.project_bias = nn.Parameter(torch.zeros(first))
            if shared:
                self.layers.append(_convolution(shared, members * hidden[0], 1, math.sqrt(2 / shared)))
            for before, after in pairwise(hidden):
                self.layers.append(_convolution(members * before, members * after, members, math.sqrt(2 / before)))
            outputs = members * architecture.pixel_outputs
            self.output = _convolution(members * hidden[-1], outputs, members, math.sqrt(1 / hidden[-1]))
        self.image: ImageHead | None = None
        if architecture.image_outputs:
            self.image = ImageHead(total, members, architecture.image_outputs)
        self.register_buffer("depth_center", torch.zeros(()))
        self.register_buffer("depth_scale", torch.ones(()))
        self.register_buffer("kind_median", torch.zeros(len(self.kinds)))
        self.register_buffer("kind_spread", torch.ones(len(self.kinds)))
        self.register_buffer("truncations", torch.ones(1))
        self.register_buffer("thresholds", torch.full((1, 101), torch.inf))

    def standardise(self, features: list[Tensor], pooled_features: Tensor | None = None) -> None:
        """Take the mean and deviation of every channel from a batch of features; those of the pooled features from
        `pooled_features` (N, ΣC), by default of the same batch."""
        for level, feature in enumerate(features):
            center, deviation = _mean_and_deviation(feature)
            self.get_buffer(f"center_{level}").copy_(center)
            self.get_buffer(f"scale_{level}").copy_(scale_of(deviation))
        if self.image is not None:
            self.image.standardise(pooled(features) if pooled_features is None else pooled_features)

    def _first_layer(self, features: list[Tensor], spread: Spread) -> Tensor:
        """The first layer before its activation: (B, shared or M·hidden₁, H, W), in the features' precision."""
        sums: dict[int, Tensor] = {}
        bias = self.project_bias
        for level, (feature, weight) in enumerate(zip(features, self.project, strict=True)):
            scaled = weight / self.get_buffer(f"scale_{level}")[None, :, None, None]
            bias = bias - (scaled.flatten(1) @ self.get_buffer(f"center_{level}"))
            projected = F.conv2d(feature, scaled.to(feature.dtype))
            side = feature.shape[-1]
            sums[side] = sums[side] + projected if side in sums else projected
        upsampled = [spread(x) for x in sums.values()]
        total = sum(upsampled[1:], start=upsampled[0])
        return total + bias.to(total.dtype)[:, None, None]

    def _of_pixels(self, features: list[Tensor], output: nn.Conv2d, spread: Spread, first: int) -> Tensor:
        """The `first` of every member's K + P + D outputs for each pixel, float32 (B, M, first, H, W)."""
        members = self.architecture.members
        x = F.relu(self._first_layer(features, spread))
        for layer in self.layers:
            x = F.relu(_apply(cast(nn.Conv2d, layer), x))
        weight, bias = (
            values.unflatten(0, (members, -1))[:, :first].flatten(0, 1).to(x.dtype)
            for values in (output.weight, cast(Tensor, output.bias))
        )
        each: Tensor = F.conv2d(x, weight, bias, groups=members).float().unflatten(1, (members, -1))
        return each

    def forward(self, features: list[Tensor]) -> HeadOutputs:
        """What every member says, from the style blocks' outputs of a batch, coarse to fine."""
        visibility, attributes = self.of_whole_images(features)
        return replace(self.of_pixels(features), visibility=visibility, attributes=attributes)

    def of_pixels(
        self, features: list[Tensor], spread: Spread | None = None, classes_only: bool = False
    ) -> HeadOutputs:
        """The part of `forward` that is said of single pixels: classes, heatmaps and depth.

        Args:
            spread: brings (B, C, r, r) to the pixels that are asked for, which then take the place of H and W; by
                default to all of them.
            classes_only: nothing else is asked for.
        """
        if self.output is None:
            return HeadOutputs(None, None, None, None, ())
        layout = self.architecture.layout
        spread = spread or partial(bilinear, side=self.architecture.resolution)
        if classes_only:
            return HeadOutputs(self._of_pixels(features, self.output, spread, layout.classes), None, None, None, ())
        each = self._of_pixels(features, self.output, spread, self.architecture.pixel_outputs)
        classes, heatmaps, depth = each.split((layout.classes, layout.points, int(layout.depth is not None)), dim=2)
        return HeadOutputs(
            classes if layout.classes else None,
            heatmaps if layout.points else None,
            depth[:, :, 0] if layout.depth else None,
            None,
            (),
        )

    def of_whole_images(self, features: list[Tensor]) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The part of `forward` that pixels do not enter one by one: visibility and attributes."""
        if self.image is None:
            return None, ()
        layout = self.architecture.layout
        of_points, *attributes = self.image(pooled(features)).split(
            (VISIBILITIES * layout.points, *layout.attributes), dim=2
        )
        visibility = of_points.unflatten(2, (layout.points, VISIBILITIES)) if layout.points else None
        return visibility, tuple(attributes)

    @torch.inference_mode()
    def label(self, features: list[Tensor]) -> Labels:
        """Labels and uncertainty of a batch of features: the plain way, which others are compared with."""
        return self.decode(self(features))

    def decode(self, outputs: HeadOutputs) -> Labels:
        """The labels that the members' outputs come to."""
        kinds: dict[str, Tensor] = {}
        masks = keypoints = depth = attributes = divergence = None
        if outputs.classes is not None:
            log_p = outputs.classes.log_softmax(dim=2)
            masks, divergence = vote(log_p, dim=2).to(torch.uint8), jensen_shannon(log_p, dim=2)
            kinds[SEGMENTATION] = mean_of_worst(divergence)
        if outputs.heatmaps is not None and outputs.visibility is not None:
            keypoints = keypoints_of(outputs.heatmaps, outputs.visibility)
            kinds[KEYPOINTS] = points_uncertainty(outputs.heatmaps, outputs.visibility)
        if outputs.depth is not None and (limits := self.architecture.layout.depth) is not None:
            depth = depth_of(outputs.depth, self.depth_center, self.depth_scale, limits)
            kinds[DEPTH] = mean_of_worst(depth_spread(outputs.depth, self.depth_scale))
        if outputs.attributes:
            attributes, kinds[CLASS] = decide(outputs.attributes)
        return Labels(masks, keypoints, depth, attributes, self.combined(kinds), kinds, divergence)

    def combined(self, kinds: dict[str, Tensor]) -> Tensor:
        """One uncertainty (B,) of those of the kinds: see `models.heads.uncertainty`."""
        return combine({kind: kinds[kind] for kind in self.kinds}, self.kind_median, self.kind_spread)

    def standardise_uncertainty(self, kinds: dict[str, Tensor]) -> None:
        """Take median and spread of each kind's uncertainty from those (N,) of random samples."""
        units = {DEPTH: float(self.depth_scale)}
        facts = [median_and_spread(kinds[kind].float(), units.get(kind, 1.0)) for kind in self.kinds]
        self.kind_median.copy_(torch.tensor([median for median, _ in facts]))
        self.kind_spread.copy_(torch.tensor([spread for _, spread in facts]))

    def remember_uncertainty(self, truncations: list[float], samples: list[Tensor]) -> None:
        """Keep the percentiles 0 to 100 of the uncertainty of pilot samples, drawn at each of these truncations."""
        percentiles, device = torch.linspace(0, 1, 101), self.thresholds.device
        self.truncations = torch.tensor(truncations, device=device)
        self.thresholds = torch.stack([s.float().cpu().quantile(percentiles) for s in samples]).to(device)

    def discard_threshold(self, fraction: float, truncation: float) -> float:
        """The uncertainty that a share `fraction` of random samples exceeds, interpolated between the pilot samples'
        truncations."""
        if fraction <= 0:
            return math.inf
        place = (1 - fraction) * 100
        low = int(place)
        rows = self.thresholds.cpu()
        values = rows[:, low].lerp(rows[:, min(low + 1, 100)], place - low)
        order = self.truncations.cpu().argsort()
        known, values = self.truncations.cpu()[order], values[order]
        right = int(torch.searchsorted(known, torch.tensor(float(truncation)))) if len(known) > 1 else 0
        if right == 0 or right == len(known):
            return float(values[min(right, len(known) - 1)])
        share = (truncation - float(known[right - 1])) / float(known[right] - known[right - 1])
        return float(values[right - 1].lerp(values[right], share))

    def save(self, path: Path) -> None:
        """Write `labeler.safetensors`, whole or not at all."""
        save_tensors(path, self.state_dict(), "labeler", {"architecture": asdict(self.architecture)})

    @staticmethod
    def load(path: Path, device: torch.device) -> "Labeler":
        """Read what `save` wrote, frozen. Raises `CheckpointError`."""
        tensors, facts = load_tensors(path, "labeler")
        try:
            values = _tuples(facts["architecture"])
            labeler = Labeler(LabelerArchitecture(**values | {"layout": LabelLayout(**_tuples(values["layout"]))}))
            labeler.truncations, labeler.thresholds = tensors["truncations"], tensors["thresholds"]
            labeler.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path.name}: does not fit its own architecture ({error})") from error
        return labeler.to(device).eval().requires_grad_(False)


def _mean_and_deviation(feature: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel of (B, C, H, W), float32 (C,)."""
    values = feature.float()
    return values.mean(dim=(0, 2, 3)), values.std(dim=(0, 2, 3))


def _convolution(before: int, after: int, groups: int, deviation: float) -> nn.Conv2d:
    """A 1×1 convolution with normal weights of this deviation and no offset."""
    layer = nn.Conv2d(before, after, 1, groups=groups)
    nn.init.normal_(layer.weight, std=deviation)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _apply(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution in the precision of x."""
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return F.conv2d(x, layer.weight.to(x.dtype), bias, groups=layer.groups)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON values with its lists as the tuples they were."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
