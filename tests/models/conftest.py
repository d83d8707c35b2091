"""A generator small enough to train, invert and label within a test."""

import pytest
import torch

from models.architecture import Architecture
from models.bundle import GeneratorBundle
from models.generator import Generator
from models.inversion.latents import measure_latents

TINY = Architecture(resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16, noise=False)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny_generator() -> Generator:
    torch.manual_seed(5)
    return Generator(TINY).eval().requires_grad_(False)


@pytest.fixture
def tiny_bundle(tiny_generator: Generator) -> GeneratorBundle:
    """Random weights, no encoder."""
    return GeneratorBundle(tiny_generator, None, measure_latents(tiny_generator))
