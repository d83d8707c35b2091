"""The labeler with nearest in place of bilinear upsampling, for comparison: it has no such setting, nor needs one."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Literal
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from models.heads.segmentation import ignore_most_uncertain
from models.labeler import Labeler, Labels

Upsampling = Literal["bilinear", "nearest"]


class _PlainKernel:
    """Stands in for `LabelingKernel`, whose interpolation is fixed: labels the plain way."""

    def __init__(self, labeler: Labeler, precision: torch.dtype) -> None:
        self.labeler, self.precision = labeler, precision

    def label(self, features: list[Tensor], ignore_fraction: float = 0.0) -> Labels:
        labels = self.labeler.label([level.to(self.precision) for level in features])
        if ignore_fraction > 0 and labels.masks is not None and labels.pixel_uncertainty is not None:
            masks = ignore_most_uncertain(labels.masks, labels.pixel_uncertainty, ignore_fraction)
            return replace(labels, masks=masks)
        return labels


def _nearest(x: Tensor, side: int) -> Tensor:
    return x if x.shape[-1] == side else F.interpolate(x, size=(side, side), mode="nearest")


@contextmanager
def upsampling(way: Upsampling) -> Iterator[None]:
    """Within it, labelers of this process learn and label with hypercolumns that are upsampled this way."""
    with ExitStack() as stack:
        if way == "nearest":
            stack.enter_context(patch("models.labeler.bilinear", _nearest))
            stack.enter_context(patch("models.fitting.pilots.LabelingKernel", _PlainKernel))
            stack.enter_context(patch("models.sampling.LabelingKernel", _PlainKernel))
        yield
