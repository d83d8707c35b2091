"""Weights to begin a training run with, instead of random ones."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.architecture import Architecture
from models.bundle import load_generator
from models.checkpoint import CheckpointError, half, load_tensors, save_tensors
from models.training.checkpoints import has_checkpoint, read_checkpoint
from models.training.discriminator import Discriminator

Weights = dict[str, Tensor]

DISCRIMINATOR = "discriminator.safetensors"


@dataclass(frozen=True)
class Start:
    """discriminator: None where only a generator is known; then a new one is trained for a while before both are."""

    architecture: Architecture
    generator: Weights
    average: Weights
    discriminator: Weights | None


def read_start(path: Path) -> Start:
    """What to start from.

    Args:
        path: the folder of a training run (its checkpoint is used, with the discriminator), a generator's folder (with
            `discriminator.safetensors` if that is there), or a `weights.safetensors`.

    Raises:
        ValueError: neither is there, or it cannot be read.
    """
    if path.is_dir() and has_checkpoint(path):
        state = read_checkpoint(path)
        if state is not None:
            architecture = Architecture(**state["architecture"])
            return Start(architecture, state["generator"], state["average"], state["discriminator"])
    file = path / "weights.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{path}: no generator there; name a folder with weights.safetensors, or such a file")
    generator = load_generator(file, torch.device("cpu"))
    weights = generator.state_dict()
    beside = path / DISCRIMINATOR
    known = _read_discriminator(beside, generator.architecture) if path.is_dir() and beside.is_file() else None
    return Start(generator.architecture, weights, weights, known)


def save_discriminator(folder: Path, discriminator: Discriminator, architecture: Architecture) -> None:
    """Write `discriminator.safetensors` in float16, whole or not at all, for trainings that begin with this one."""
    facts = {"architecture": architecture.to_dict()}
    save_tensors(folder / DISCRIMINATOR, half(discriminator.state_dict()), "discriminator", facts)


def _read_discriminator(path: Path, architecture: Architecture) -> Weights:
    tensors, facts = load_tensors(path, "discriminator")
    weights = {name: tensor.float() for name, tensor in tensors.items()}
    try:
        if Architecture(**facts["architecture"]) != architecture:
            raise CheckpointError(f"{path}: belongs to another generator; delete it to train a new one")
        Discriminator(architecture).load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: does not fit its own architecture ({error})") from error
    return weights
