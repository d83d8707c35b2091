"""Pictures of samples: one row a class, large images in small tiles."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.architecture import Architecture
from models.generator import Generator
from models.inversion.latents import measure_latents
from models.inversion.perceptual import PerceptualDistance
from models.inversion.training import EncoderSettings, EncoderTraining
from models.pictures import to_uint8
from workers.png import read_image
from workers.sample_grid import sample_grid


def generator_of(resolution: int = 16, c_dim: int = 0) -> Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        architecture = Architecture(resolution, 8, 8, mapping_layers=2, channel_base=4096, channel_max=8, c_dim=c_dim)
        return Generator(architecture).eval().requires_grad_(False)


@pytest.mark.parametrize(("c_dim", "rows"), [(0, 4), (3, 3), (25, 10)])
def test_a_conditional_generator_has_a_row_for_each_class(c_dim: int, rows: int) -> None:
    picture = read_image(sample_grid(generator_of(c_dim=c_dim), 1.0))
    assert picture.shape == (rows * 16, 6 * 16, 3)
    tiles = picture.reshape(rows, 16, 6, 16, 3).swapaxes(1, 2)
    assert len(np.unique(tiles.reshape(rows * 6, -1), axis=0)) == rows * 6


def test_its_tiles_are_the_generators_own_images() -> None:
    generator = generator_of(c_dim=3)
    z = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    c = torch.tensor([[0.0, 0.0, 1.0]]).expand(6, -1)
    expected = to_uint8(generator(z, 0.7, c=c)).astype(int)
    tiles = read_image(sample_grid(generator, 0.7)).reshape(3, 16, 6, 16, 3).swapaxes(1, 2).astype(int)
    assert np.abs(tiles[2] - expected).mean() < 2  # at most the rounding of half precision


def test_large_images_are_made_smaller() -> None:
    picture = read_image(sample_grid(generator_of(512), 0.5))
    assert picture.shape == (2 * 256, 3 * 256, 3)


def test_features_are_gone_before_the_next_ones_are_made() -> None:
    generator, made, kept = generator_of(), [], []

    def count_kept(module: nn.Module, arguments: Any) -> None:
        kept.append(sum(feature() is not None for feature in made))

    def remember(module: nn.Module, arguments: Any, made_now: Any) -> None:
        made.extend(weakref.ref(feature) for feature in made_now[1])

    generator.synthesis.register_forward_pre_hook(count_kept)
    generator.synthesis.register_forward_hook(remember)
    sample_grid(generator, 1.0)
    assert kept == [0, 0]
    assert len(made) == 10


def test_a_conditional_generator_can_be_measured_and_inverted() -> None:
    generator = generator_of(c_dim=3)
    latents = measure_latents(generator)
    z = torch.randn(3000, 8, generator=torch.Generator().manual_seed(9))
    classes = torch.eye(3).repeat(1000, 1)
    w = generator.mapping(z, c=classes)
    assert torch.allclose(latents.w_avg, w.mean(0), atol=0.1 * float(w.std()))
    settings = EncoderSettings(steps_code=2, steps_image=1, batch=4)
    encoder = EncoderTraining(generator, latents, PerceptualDistance(), settings).run(lambda progress: None)
    assert encoder(generator(z[:2], c=classes[:2])).shape == (2, generator.architecture.num_ws, 8)
