"""A labeler's weights as its inference kernel wants them: standardised features folded in, members in groups."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from models.labeler import Labeler

GROUP_WIDTH = 256
"""Members are taken together until their first layers have about this many units: enough for a matrix product at full
speed, few enough for a band of pixels to stay in cache."""


@dataclass(frozen=True)
class MemberGroup:
    """The weights of one first layer and of the members behind it.

    members: which of the ensemble. levels: for each style block (C, N). offsets: side → (N,), minus the projection of
    the mean features of that side; that of the full resolution has the layer's bias in it and is always there. expand:
    with a shared projection, (N, G·h) and (G·h,) of the layer after it. hidden: for each grouped layer (G, in, out) and
    (G, 1, out). output: float32 (G, outputs, in) and (G, outputs, 1).
    """

    members: slice
    levels: list[Tensor]
    offsets: dict[int, Tensor]
    expand: tuple[Tensor, Tensor] | None
    hidden: list[tuple[Tensor, Tensor]]
    output: tuple[Tensor, Tensor]

    @property
    def width(self) -> int:
        """N, the units of the first layer."""
        return self.levels[0].shape[1]


def fold(labeler: Labeler, precision: torch.dtype) -> list[MemberGroup]:
    """The pixel network of a labeler in groups of members, cast once; nothing for one without labels of pixels."""
    if labeler.output is None:
        return []
    architecture = labeler.architecture
    members, width = architecture.members, architecture.hidden[0]
    levels, offsets = _standardised(labeler)
    layers = [cast(nn.Conv2d, layer) for layer in labeler.layers]
    expand = layers.pop(0) if architecture.shared else None
    together = members if expand else max(1, GROUP_WIDTH // width)
    first_units = architecture.shared or members * width
    groups = []
    for first in range(0, members, together):
        of = slice(first, min(first + together, members))
        units = slice(0, first_units) if expand else slice(of.start * width, of.stop * width)
        groups.append(
            MemberGroup(
                of,
                [level[:, units].contiguous().to(precision) for level in levels],
                {side: offset[units].to(precision) for side, offset in offsets.items()},
                _expanding(expand, precision) if expand else None,
                [_grouped(layer, members, of, precision) for layer in layers],
                _outputs(labeler.output, members, of),
            )
        )
    return groups


def _standardised(labeler: Labeler) -> tuple[list[Tensor], dict[int, Tensor]]:
    """The first layer for features as they are, float64: weights (C, N) of each style block, offsets (N,) by side."""
    levels = []
    offsets = {labeler.architecture.resolution: labeler.project_bias.detach().double()}
    for level, (weight, side) in enumerate(zip(labeler.project, labeler.architecture.feature_sides, strict=True)):
        center, scale = (labeler.get_buffer(f"{name}_{level}").double() for name in ("center", "scale"))
        scaled = (weight.detach().flatten(1).double() / scale).T
        levels.append(scaled)
        offsets[side] = offsets.get(side, 0) - center @ scaled
    return levels, offsets


def _expanding(layer: nn.Conv2d, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    weight, bias = _detached(layer)
    return weight.T.contiguous().to(precision), bias.to(precision)


def _grouped(layer: nn.Conv2d, members: int, of: slice, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    weight, bias = _detached(layer)
    each = weight.unflatten(0, (members, -1))[of].transpose(1, 2).contiguous()
    return each.to(precision), bias.view(members, 1, -1)[of].to(precision)


def _outputs(layer: nn.Conv2d, members: int, of: slice) -> tuple[Tensor, Tensor]:
    weight, bias = _detached(layer)
    each = weight.unflatten(0, (members, -1))[of].contiguous()
    return each.float(), bias.view(members, -1, 1)[of].float()


def _detached(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight (out, in) and bias (out,)."""
    assert layer.bias is not None  # noqa: S101 - all of the labeler's layers have one
    return layer.weight.detach().flatten(1), layer.bias.detach()
