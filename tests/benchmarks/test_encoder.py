"""The benchmark of encoder training, on a generator small enough for a test."""

import pytest
import torch

from benchmarks import encoder
from models.architecture import Architecture
from models.bundle import GeneratorBundle
from models.generator import Generator
from models.inversion.latents import measure_latents


def test_both_stages_are_timed_and_weighed_by_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Architecture(resolution=64, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=8)
    generator = Generator(tiny).eval().requires_grad_(False)
    bundle = GeneratorBundle(generator, None, measure_latents(generator))
    code, image = encoder.seconds_a_step(bundle, 3)
    assert code > 0 and image > code, "the second stage makes and compares images on top"
    monkeypatch.setattr(encoder, "seconds_a_step", lambda _bundle, _steps: (0.3, 0.9))
    found = encoder.figures(bundle, 3)
    assert found["all_steps_minutes"] == pytest.approx((6000 * 0.3 + 3000 * 0.9) / 60)
    assert (found["default_minutes"], found["share_of_steps"]) == (60.0, pytest.approx(3600 / 4500))
    assert torch.is_grad_enabled()
