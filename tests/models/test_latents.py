"""Latent statistics are those of all samples at once, but are not computed with all of them in memory."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.architecture import Architecture
from models.generator import Generator
from models.inversion import latents
from models.inversion.latents import measure_latents

CONDITIONAL = Architecture(resolution=8, z_dim=12, w_dim=16, mapping_layers=2, channel_base=64, channel_max=8, c_dim=3)


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that any operation put out."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.bytes = max(self.bytes, out.numel() * out.itemsize)
        return out


def test_they_are_those_of_all_samples_at_once(tiny_generator: Generator) -> None:
    # Far from zero, where sums of plain squares would have lost digits.
    tiny_generator.mapping.layers[-1].bias.add_(1e4)
    z = torch.randn(latents.SAMPLES, 16, generator=torch.Generator().manual_seed(4))
    w = tiny_generator.mapping(z).double()
    p = torch.where(w >= 0, w, 5 * w)
    values, vectors = torch.linalg.eigh(torch.cov(p.T))
    scale = values.clamp(min=1e-3 * values.max())
    found = measure_latents(tiny_generator, seed=4)
    torch.testing.assert_close(found.w_avg, w.mean(0).float())
    torch.testing.assert_close(found.w_std, w.std(0).float())
    torch.testing.assert_close(found.p_mean, p.mean(0).float())
    # Directions of the same spread may be turned into one another: what the prior adds up does not change by it.
    whiten = (vectors * scale.rsqrt()).T
    expected = whiten.T @ whiten
    assert (found.whiten.double().T @ found.whiten.double() - expected).abs().max() < 1e-6 * expected.abs().max()


@pytest.mark.parametrize("classes", [0, 3])
def test_memory_does_not_grow_with_the_samples(
    classes: int, tiny_generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator(CONDITIONAL).requires_grad_(False) if classes else tiny_generator
    peaks = []
    for samples in (5_000, 20_000):
        monkeypatch.setattr(latents, "SAMPLES", samples)
        with Largest() as largest:
            measure_latents(generator)
        peaks.append(largest.bytes)
    assert peaks[0] == peaks[1] > 0


def test_every_class_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = Generator(CONDITIONAL).requires_grad_(False)
    monkeypatch.setattr(latents, "SAMPLES", 9_000)
    z = torch.randn(3_000, 12)
    labels = F.one_hot(torch.arange(3).repeat_interleave(3_000), 3).float()
    w = generator.mapping(z.repeat(3, 1), c=labels)
    found = measure_latents(generator)
    assert (found.w_avg - w.mean(0)).abs().max() < 0.1 * w.std(0).max()
    torch.testing.assert_close(found.w_std, w.std(0), rtol=0.1, atol=0.01)
