"""Generators of the published sizes, for what depends on sizes alone."""

import torch

from models.architecture import Architecture
from models.bundle import GeneratorBundle
from models.generator import Generator
from models.inversion.latents import measure_latents


def random_bundle(resolution: int, device: torch.device) -> GeneratorBundle:
    """A generator of config f with random weights, without an encoder."""
    torch.manual_seed(0)
    generator = Generator(Architecture(resolution)).to(device).eval().requires_grad_(False)
    return GeneratorBundle(generator, None, measure_latents(generator))
