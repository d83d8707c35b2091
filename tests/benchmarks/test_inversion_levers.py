"""The levers of inversion, on a generator small enough for a test."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.inversion.levers import LEVERS, SHIPPED, Lever, Start
from benchmarks.inversion.search import inverted, losses, refine, several_starts, starting_codes
from models.architecture import Architecture
from models.bundle import GeneratorBundle
from models.generator import Generator
from models.inversion.encoder import Encoder, EncoderArchitecture
from models.inversion.latents import measure_latents
from models.inversion.perceptual import PerceptualDistance
from models.inversion.refinement import invert

TINY = Architecture(resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16, noise=False)


@pytest.fixture(scope="module")
def bundle() -> GeneratorBundle:
    torch.set_num_threads(1)
    torch.manual_seed(5)
    generator = Generator(TINY).eval().requires_grad_(False)
    encoder = Encoder(EncoderArchitecture(16, TINY.num_ws, TINY.w_dim, 256, 16, 16)).eval().requires_grad_(False)
    latents = measure_latents(generator)
    encoder.w_avg.copy_(latents.w_avg)
    encoder.w_std.copy_(latents.w_std)
    return GeneratorBundle(generator, encoder, latents)


@pytest.fixture(scope="module")
def renders(bundle: GeneratorBundle) -> Tensor:
    random = torch.Generator().manual_seed(3)
    w = bundle.generator.mapping(torch.randn(2, TINY.z_dim, generator=random))
    images: Tensor = bundle.generator.synthesis(w[:, None].expand(-1, TINY.num_ws, -1))[0]
    return images.clamp(-1, 1)


@pytest.fixture(scope="module")
def perceptual() -> PerceptualDistance:
    return PerceptualDistance("alex")


@pytest.mark.parametrize("lever", LEVERS, ids=lambda lever: lever.name)
def test_every_lever_finds_codes(lever: Lever, bundle: GeneratorBundle, renders: Tensor) -> None:
    found = inverted(bundle, replace(lever, refinement=replace(lever.refinement, steps=2)), renders)
    assert found.codes.shape == (2, TINY.num_ws, TINY.w_dim)
    assert torch.isfinite(found.codes).all() and torch.isfinite(found.lpips).all()


def test_without_a_lever_it_refines_as_the_product_does(
    bundle: GeneratorBundle, renders: Tensor, perceptual: PerceptualDistance
) -> None:
    assert bundle.encoder is not None
    settings = replace(
        SHIPPED, steps=12, random_lpips_weight=10.0, prior_weight=0.1, encoder_weight=0.1, layer_weight=0.1
    )
    expected = invert(bundle, perceptual, renders, settings, lambda *_: None)
    codes = refine(bundle, perceptual, renders, settings, bundle.encoder(renders)[None])
    # In bfloat16, where the product uses it, the order of sums shows.
    torch.testing.assert_close(codes, expected.codes, atol=5e-3, rtol=0.0)


def test_w_first_shares_one_w_in_its_first_third(
    bundle: GeneratorBundle, renders: Tensor, perceptual: PerceptualDistance
) -> None:
    seen: dict[int, Tensor] = {}
    starts = several_starts(bundle, renders, 1)
    refine(bundle, perceptual, renders, replace(SHIPPED, steps=9), starts, 1 / 3, seen.__setitem__)
    apart = [float((seen[step] - seen[step].mean(dim=1, keepdim=True)).abs().max()) for step in range(10)]
    assert max(apart[:4]) < 1e-5 and min(apart[4:]) > 1e-3
    assert not torch.allclose(seen[0], seen[3])


def test_the_best_of_several_starts_goes_on(bundle: GeneratorBundle, perceptual: PerceptualDistance) -> None:
    settings = replace(SHIPPED, steps=8, learning_rate=1e-3)
    right = bundle.latents.w_avg.expand(2, TINY.num_ws, -1)
    images, _ = bundle.generator.synthesis(right)
    wrong = bundle.latents.w_avg + 3 * bundle.latents.w_std * torch.ones_like(right)
    # The first target's right code comes second, the other's first.
    starts = torch.stack([torch.stack([wrong[0], right[1]]), torch.stack([right[0], wrong[1]])])
    seen: dict[int, Tensor] = {}
    found = refine(bundle, perceptual, images, settings, starts, watch=seen.__setitem__)
    assert [len(seen[step]) for step in (1, 2, 8)] == [4, 2, 2]
    torch.testing.assert_close(found, right.contiguous(), atol=0.05, rtol=0.0)


def test_starts_are_told_apart(bundle: GeneratorBundle, renders: Tensor) -> None:
    starts = several_starts(bundle, renders, 4)
    assert starts.shape == (4, 2, TINY.num_ws, TINY.w_dim)
    assert all(not torch.allclose(starts[i], starts[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize("start", ["corrected-image", "corrected-code"])
def test_asking_the_encoder_again_lowers_the_loss(
    start: Start, bundle: GeneratorBundle, renders: Tensor, perceptual: PerceptualDistance
) -> None:
    def loss(codes: Tensor) -> Tensor:
        images, _ = bundle.generator.synthesis(codes)
        return losses(bundle, perceptual, renders, SHIPPED, codes, torch.zeros_like(codes), images)

    first = starting_codes(bundle, perceptual, renders, SHIPPED, "encoder")
    again = starting_codes(bundle, perceptual, renders, SHIPPED, start)
    assert (loss(again) <= loss(first) + 1e-6).all()
    assert not torch.allclose(again, first)
