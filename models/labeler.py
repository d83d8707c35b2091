"""The labeler: an ensemble of per-pixel MLPs over the hypercolumn, without building the hypercolumn.

Upsampling is linear and acts on each channel alone, and the first layer is linear over channels, so
W·concat(up(f₁) … up(f_L)) = Σ up(W_l·f_l). Every level is projected to the members' hidden units at its own resolution;
levels of one resolution are added there, and each resolution is upsampled once.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.checkpoint import CheckpointError, load_tensors, save_tensors

WORST_SHARE = 10
"""A sample's uncertainty is the mean over its most uncertain 1 / WORST_SHARE of pixels."""


@dataclass(frozen=True)
class LabelerArchitecture:
    """feature_channels, feature_sides: of each style block's output, coarse to fine. resolution: of the labels.
    classes: K. members: size of the ensemble. hidden: widths of the two hidden layers of a member."""

    feature_channels: tuple[int, ...]
    feature_sides: tuple[int, ...]
    resolution: int
    classes: int
    members: int
    hidden: tuple[int, int]


@dataclass(frozen=True)
class Labels:
    """masks: uint8 (B, H, W), the class of the members' mean probability. uncertainty: float32 (B,), the mean
    Jensen-Shannon divergence (nats, 0 to log members) of the most uncertain tenth of the pixels."""

    masks: Tensor
    uncertainty: Tensor


def bilinear(x: Tensor, side: int) -> Tensor:
    """Upsample (B, C, h, w) to `side` a side, bilinear with `align_corners=False`."""
    if x.shape[-1] == side:
        return x
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


class Labeler(nn.Module):
    """M members, each hypercolumn → hidden₁ → hidden₂ → K with ReLU between, evaluated side by side.

    Features are standardised per channel before the first layer; `center` and `scale` hold the statistics. The ensemble
    also remembers how uncertain random samples were, as quantiles per truncation, for the discard threshold.
    """

    thresholds: Tensor
    truncations: Tensor

    def __init__(self, architecture: LabelerArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        first, second = architecture.hidden
        members, classes = architecture.members, architecture.classes
        depth = sum(architecture.feature_channels)
        self.project = nn.ParameterList(
            torch.randn(members * first, channels, 1, 1) * math.sqrt(2 / depth)
            for channels in architecture.feature_channels
        )
        for level, channels in enumerate(architecture.feature_channels):
            self.register_buffer(f"center_{level}", torch.zeros(channels))
            self.register_buffer(f"scale_{level}", torch.ones(channels))
        self.project_bias = nn.Parameter(torch.zeros(members * first))
        self.hidden = nn.Conv2d(members * first, members * second, 1, groups=members)
        self.logits = nn.Conv2d(members * second, members * classes, 1, groups=members)
        nn.init.kaiming_normal_(self.hidden.weight)
        nn.init.zeros_(self.hidden.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.logits.weight, std=1 / math.sqrt(second))
        nn.init.zeros_(self.logits.bias)  # type: ignore[arg-type]
        self.register_buffer("truncations", torch.ones(1))
        self.register_buffer("thresholds", torch.full((1, 101), torch.inf))

    def standardise(self, features: list[Tensor]) -> None:
        """Take the mean and deviation of every channel from a batch of features."""
        for level, feature in enumerate(features):
            values = feature.float()
            self.get_buffer(f"center_{level}").copy_(values.mean(dim=(0, 2, 3)))
            self.get_buffer(f"scale_{level}").copy_(values.std(dim=(0, 2, 3)).clamp(min=1e-4))

    def _first_layer(self, features: list[Tensor]) -> Tensor:
        """The members' first hidden layer before its activation: (B, M·hidden₁, H, W), in the features' precision."""
        sums: dict[int, Tensor] = {}
        bias = self.project_bias
        for level, (feature, weight) in enumerate(zip(features, self.project, strict=True)):
            scaled = weight / self.get_buffer(f"scale_{level}")[None, :, None, None]
            bias = bias - (scaled.flatten(1) @ self.get_buffer(f"center_{level}"))
            projected = F.conv2d(feature, scaled.to(feature.dtype))
            side = feature.shape[-1]
            sums[side] = sums[side] + projected if side in sums else projected
        upsampled = [bilinear(x, self.architecture.resolution) for x in sums.values()]
        total = sum(upsampled[1:], start=upsampled[0])
        return total + bias.to(total.dtype)[:, None, None]

    def forward(self, features: list[Tensor]) -> Tensor:
        """Every member's logits, float32 (B, M, K, H, W), from the style blocks' outputs of a batch."""
        x = F.relu(self._first_layer(features))
        x = F.relu(F.conv2d(x, self.hidden.weight.to(x.dtype), self._bias(self.hidden, x), groups=self.hidden.groups))
        x = F.conv2d(x, self.logits.weight.to(x.dtype), self._bias(self.logits, x), groups=self.logits.groups)
        logits: Tensor = x.float().unflatten(1, (self.architecture.members, self.architecture.classes))
        return logits

    @staticmethod
    def _bias(layer: nn.Conv2d, x: Tensor) -> Tensor | None:
        return None if layer.bias is None else layer.bias.to(x.dtype)

    @torch.inference_mode()
    def label(self, features: list[Tensor]) -> Labels:
        """Masks and uncertainty of a batch of features."""
        logits = self(features)
        log_p = logits.log_softmax(dim=2)
        p = log_p.exp()
        mean = p.mean(dim=1)
        mixed = -(mean * mean.clamp(min=1e-30).log()).sum(dim=1)
        own = -(p * log_p).sum(dim=2).mean(dim=1)
        divergence = (mixed - own).clamp_(min=0).flatten(1)
        worst = divergence.topk(max(1, divergence.shape[1] // WORST_SHARE), dim=1).values.mean(dim=1)
        return Labels(mean.argmax(dim=1).to(torch.uint8), worst)

    def remember_uncertainty(self, truncations: list[float], samples: list[Tensor]) -> None:
        """Keep the percentiles 0 to 100 of the uncertainty of pilot samples, drawn at each of these truncations."""
        percentiles = torch.linspace(0, 1, 101)
        self.truncations = torch.tensor(truncations)
        self.thresholds = torch.stack([s.float().cpu().quantile(percentiles) for s in samples])

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
            values: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in facts["architecture"].items()
            }
            labeler = Labeler(LabelerArchitecture(**values))
            labeler.truncations, labeler.thresholds = tensors["truncations"], tensors["thresholds"]
            labeler.load_state_dict(tensors)
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path.name}: does not fit its own architecture ({error})") from error
        return labeler.to(device).eval().requires_grad_(False)
