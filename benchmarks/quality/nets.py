"""The small networks that are trained on each source, one for each label kind."""

from itertools import pairwise
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.fitting.teacher import conv_block

Kind = Literal["segmentation", "keypoints", "depth", "class"]
KINDS: tuple[Kind, ...] = get_args(Kind)

WIDTHS = (16, 32, 64, 96)
"""Channels at full, half, quarter and eighth resolution."""


class TaskNet(nn.Module):
    """A U-Net of 0.27 million weights (Ronneberger et al., 2015) that ends in what one label kind needs. What comes up
    is added to what was kept on the way down, not put beside it (LinkNet, Chaurasia and Culurciello, 2017).

    Its output for images float32 (B, 3, R, R) in [-1, 1], all float32: segmentation: logits (B, outputs, R, R).
    keypoints: a heatmap's logits for each point, (B, outputs, R, R). depth: (B, 1, R, R), standardised. class: logits
    (B, outputs), from the pooled innermost features.
    """

    def __init__(self, kind: Kind, outputs: int) -> None:
        super().__init__()
        self.kind = kind
        self.stem = conv_block(3, WIDTHS[0])
        self.down = nn.ModuleList(nn.Sequential(conv_block(a, b, 2), conv_block(b, b)) for a, b in pairwise(WIDTHS))
        self.narrow, self.up = nn.ModuleList(), nn.ModuleList()
        if kind == "class":
            self.head: nn.Module = nn.Linear(WIDTHS[-1], outputs)
            return
        for deep, skip in pairwise(reversed(WIDTHS)):
            self.narrow.append(nn.Conv2d(deep, skip, 1))
            self.up.append(conv_block(skip, skip))
        self.head = nn.Conv2d(WIDTHS[0], outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        kept = []
        for block in self.down:
            kept.append(x)
            x = block(x)
        if self.kind == "class":
            logits: Tensor = self.head(x.float().mean(dim=(2, 3)))
            return logits
        for narrow, block, skip in zip(self.narrow, self.up, reversed(kept), strict=True):
            x = block(F.interpolate(narrow(x), scale_factor=2.0, mode="nearest") + skip)
        out: Tensor = self.head(x)
        return out.float()
