"""Nearest upsampling, which the labeler itself does not have."""

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.quality.upsampling import upsampling
from models.labeler import Labeler, LabelerArchitecture
from models.labeling import LabelingKernel
from models.labels import LabelLayout

SAMPLING: Any = import_module("models.sampling")
SIDES, CHANNELS, SIDE = (4, 8, 16), (6, 5, 4), 16


@pytest.fixture
def labeler() -> Labeler:
    torch.manual_seed(0)
    layout = LabelLayout(classes=4, points=0, depth=(-2.0, 2.0), attributes=())
    return Labeler(LabelerArchitecture(CHANNELS, SIDES, SIDE, layout, 2, (8,), 12)).eval().requires_grad_(False)


def repeated(features: list[Tensor]) -> list[Tensor]:
    """Every level at the full side, each value a square of equal pixels."""
    each = [(level, SIDE // level.shape[-1]) for level in features]
    return [level.repeat_interleave(n, dim=-1).repeat_interleave(n, dim=-2) for level, n in each]


def test_labels_are_those_of_features_whose_pixels_are_repeated(labeler: Labeler) -> None:
    random = torch.Generator().manual_seed(1)
    features = [torch.randn(3, c, s, s, generator=random) for c, s in zip(CHANNELS, SIDES, strict=True)]
    plain = labeler.label(repeated(features))
    with upsampling("nearest"):
        nearest = SAMPLING.LabelingKernel(labeler, torch.float32).label(features)
        ignored = SAMPLING.LabelingKernel(labeler, torch.float32).label(features, ignore_fraction=0.25)
    assert plain.masks is not None and nearest.masks is not None and ignored.masks is not None
    assert torch.equal(nearest.masks, plain.masks)
    torch.testing.assert_close(nearest.depth, plain.depth)
    assert (ignored.masks == 255).flatten(1).sum(dim=1).tolist() == [64, 64, 64]

    assert SAMPLING.LabelingKernel is LabelingKernel
    with upsampling("bilinear"):
        usual = SAMPLING.LabelingKernel(labeler, torch.float32).label(features)
    assert usual.masks is not None and not torch.equal(usual.masks, plain.masks)
    torch.testing.assert_close(usual.depth, labeler.label(features).depth)
