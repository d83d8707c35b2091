"""A perceptual distance of random features does not steer refinement, unless it is told to."""

from dataclasses import replace

import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.inversion.perceptual import PerceptualDistance
from models.inversion.refinement import RefinementSettings, invert


def test_only_trained_features_steer_refinement(tiny_bundle: GeneratorBundle) -> None:
    perceptual = PerceptualDistance("alex")
    targets = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def codes(source: str, settings: RefinementSettings) -> Tensor:
        perceptual.source = source
        return invert(tiny_bundle, perceptual, targets, settings, lambda *_: None).codes

    usual = RefinementSettings(steps=6)
    without = codes("pretrained", replace(usual, lpips_weight=0.0))
    assert torch.equal(codes("random", usual), without)
    steered = codes("pretrained", usual)
    assert not torch.allclose(steered, without, atol=1e-2)
    assert torch.equal(codes("random", replace(usual, random_lpips_weight=usual.lpips_weight)), steered)
