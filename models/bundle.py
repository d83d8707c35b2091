"""A generator as the product knows it: the frozen network with what was learnt about it."""

from dataclasses import dataclass
from pathlib import Path

import torch

from models.architecture import Architecture
from models.checkpoint import CheckpointError, load_tensors
from models.generator import Generator
from models.inversion.encoder import Encoder
from models.inversion.latents import LatentStatistics, measure_latents


@dataclass(frozen=True)
class GeneratorBundle:
    """generator: frozen, float32. encoder: None when none was trained yet, or nobody asked for it. latents:
    where its samples live."""

    generator: Generator
    encoder: Encoder | None
    latents: LatentStatistics

    @property
    def resolution(self) -> int:
        return self.generator.architecture.resolution

    @property
    def num_ws(self) -> int:
        return self.generator.architecture.num_ws

    @property
    def w_dim(self) -> int:
        return self.generator.architecture.w_dim

    @property
    def parameters(self) -> int:
        """How many weights the generator has."""
        return sum(p.numel() for p in self.generator.parameters())

    @property
    def device(self) -> torch.device:
        return self.latents.w_avg.device


def load_generator(path: Path, device: torch.device) -> Generator:
    """The frozen float32 generator of a `weights.safetensors`.

    Raises:
        CheckpointError: not a generator, or tensors that do not fit the architecture in its header.
    """
    tensors, facts = load_tensors(path, "generator")
    try:
        generator = Generator(Architecture(**facts["architecture"]))
        generator.load_state_dict({name: t.float() for name, t in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path.name}: does not fit its own architecture ({error})") from error
    return generator.to(device).eval().requires_grad_(False)


def load_bundle(folder: Path, device: torch.device, with_encoder: bool = True) -> GeneratorBundle:
    """Read `weights.safetensors` of a folder and, where they are there, `encoder.safetensors` and
    `latents.safetensors`; missing latent statistics are measured.

    Args:
        with_encoder: only who inverts images needs one.

    Raises:
        CheckpointError: a file is missing, unreadable or does not fit the others.
    """
    generator = load_generator(folder / "weights.safetensors", device)
    encoder_path, latents_path = folder / "encoder.safetensors", folder / "latents.safetensors"
    encoder = Encoder.load(encoder_path, device) if with_encoder and encoder_path.exists() else None
    architecture = generator.architecture
    if encoder and (encoder.architecture.num_ws, encoder.architecture.w_dim) != (
        architecture.num_ws,
        architecture.w_dim,
    ):
        raise CheckpointError("encoder.safetensors: made for another generator")
    latents = LatentStatistics.load(latents_path, device) if latents_path.exists() else measure_latents(generator)
    return GeneratorBundle(generator, encoder, latents)
