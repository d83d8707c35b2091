"""Labeling with a hypercolumn that is really built, and a labeler to compare with; for `benchmarks.labeling`."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from models.architecture import Architecture
from models.labeler import Labeler, LabelerArchitecture
from models.labeling import LabelingKernel
from models.labels import LabelLayout

SURENESS = 0.9
"""Mean largest probability of a member, about what a fitted labeler has on samples."""

RIDGE = 1e-3


class Materialised:
    """Every level upsampled to the full resolution, one hypercolumn of all channels, an MLP after another over its
    pixels, the mean of their softmax as the vote. Plain float32 PyTorch; standardisation is folded into the weights."""

    def __init__(self, labeler: Labeler) -> None:
        architecture = labeler.architecture
        self.resolution, members = architecture.resolution, architecture.members
        scales = [labeler.get_buffer(f"scale_{level}") for level in range(len(labeler.project))]
        centers = torch.cat([labeler.get_buffer(f"center_{level}") for level in range(len(labeler.project))])
        first = torch.cat([w.flatten(1) / scale for w, scale in zip(labeler.project, scales, strict=True)], dim=1)
        layers = [(first, labeler.project_bias - first @ centers)]
        layers += [(m.weight.flatten(1), m.bias) for m in labeler.modules() if isinstance(m, torch.nn.Conv2d)]
        self.members = [
            [(weight.chunk(members)[member], bias.chunk(members)[member]) for weight, bias in layers]
            for member in range(members)
        ]

    def _logits(self, hypercolumn: Tensor, member: int) -> Tensor:
        x = hypercolumn
        for place, (weight, bias) in enumerate(self.members[member]):
            x = F.linear(F.relu_(x) if place else x, weight, bias)
        return x

    def _hypercolumn(self, features: list[Tensor]) -> Tensor:
        """(pixels, ΣC) of one image."""
        size = (self.resolution, self.resolution)
        levels = [F.interpolate(f.float(), size=size, mode="bilinear", align_corners=False) for f in features]
        return torch.cat(levels, dim=1)[0].flatten(1).T.contiguous()

    @torch.inference_mode()
    def label(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Mask (H, W) and Jensen-Shannon divergence (H, W) of one image's features (1, C, r, r)."""
        hypercolumn = self._hypercolumn(features)
        mean, own = torch.zeros(()), torch.zeros(())
        for member in range(len(self.members)):
            p = self._logits(hypercolumn, member).softmax(dim=1)
            mean = mean.to(p) + p / len(self.members)
            own = own.to(p) + torch.special.entr(p).sum(dim=1) / len(self.members)
        divergence = torch.special.entr(mean).sum(dim=1) - own
        side = (self.resolution, self.resolution)
        return mean.argmax(dim=1).view(side), divergence.view(side)

    @torch.inference_mode()
    def logits(self, features: list[Tensor]) -> Tensor:
        """Every member's logits of one image, (M, K, H, W)."""
        hypercolumn = self._hypercolumn(features)
        each = torch.stack([self._logits(hypercolumn, member).T for member in range(len(self.members))])
        return each.unflatten(2, (self.resolution, self.resolution))


def new_labeler(
    generator: Architecture, classes: int, members: int, hidden: tuple[int, ...], shared: int, device: torch.device
) -> Labeler:
    """A segmentation labeler for a generator, with random weights."""
    architecture = LabelerArchitecture(
        generator.feature_channels,
        generator.feature_sides,
        generator.resolution,
        LabelLayout(classes=classes),
        members,
        hidden,
        shared,
    )
    return Labeler(architecture).to(device).eval().requires_grad_(False)


@torch.inference_mode()
def settle(labeler: Labeler, features: list[Tensor]) -> None:
    """Give a labeler of random weights the logits of a fitted one, so that its labels are as clear as in use.

    Members with random outputs agree on nothing, and their vote is full of near ties. Here the output layer of each is
    fitted to one made-up segmentation, smooth as real ones are: ridge regression on its last hidden layer, scaled until
    the mean largest probability is `SURENESS`.

    Args:
        features: of one image or more, float32.
    """
    labeler.standardise(features)
    architecture = labeler.architecture
    classes, members, width = architecture.layout.classes, architecture.members, architecture.hidden[-1]
    truth = _segmentation(features, architecture.resolution, classes)
    x = _last_hidden(labeler, features).permute(1, 0, 3, 4, 2).flatten(1, 3)  # (M, pixels, width)
    chosen = torch.randperm(x.shape[1], device=x.device)[: 2**14]
    x, wanted = x[:, chosen], F.one_hot(truth.flatten()[chosen], classes).float() - 1 / classes
    x = torch.cat([x, torch.ones_like(x[..., :1])], dim=2)
    ridge = RIDGE * len(chosen) * torch.eye(width + 1, device=x.device)
    solved = torch.linalg.solve(x.mT @ x + ridge, x.mT @ wanted)  # (M, width + 1, K)
    logits = x @ solved
    low, high = 0.0, 1e4
    for _ in range(40):
        gain = (low + high) / 2
        sure = float((gain * logits).softmax(dim=2).amax(dim=2).mean())
        low, high = (gain, high) if sure < SURENESS else (low, gain)
    assert labeler.output is not None
    assert labeler.output.bias is not None
    labeler.output.weight.copy_((gain * solved[:, :-1]).mT.reshape(members * classes, width, 1, 1))
    labeler.output.bias.copy_((gain * solved[:, -1]).flatten())


def _segmentation(features: list[Tensor], resolution: int, classes: int) -> Tensor:
    """A partition of each image, int64 (B, H, W): the largest of random mixtures of the features at about 32×32."""
    level = features[min(range(len(features)), key=lambda i: abs(features[i].shape[-1] - 32))]
    centered = level - level.mean(dim=(0, 2, 3), keepdim=True)
    mixed = F.conv2d(centered, torch.randn(classes, level.shape[1], 1, 1).to(level))
    return F.interpolate(mixed, size=(resolution, resolution), mode="bilinear").argmax(dim=1)


def _last_hidden(labeler: Labeler, features: list[Tensor]) -> Tensor:
    """What enters the output layer, (B, M, width, H, W): the outputs of the same labeler with an identity there."""
    architecture = labeler.architecture
    width = architecture.hidden[-1]
    bare = (
        Labeler(replace(architecture, layout=LabelLayout(classes=width))).to(features[0].device).requires_grad_(False)
    )
    own = bare.state_dict()
    bare.load_state_dict({k: own[k] if k.startswith("output.") else v for k, v in labeler.state_dict().items()})
    assert bare.output is not None
    assert bare.output.bias is not None
    bare.output.weight.copy_(torch.eye(width).repeat(architecture.members, 1)[..., None, None])
    bare.output.bias.zero_()
    return LabelingKernel(bare, torch.float32).pixel_outputs(features)
