"""Weights to begin a training run with, instead of random ones."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.bundle import load_generator
from models.generator import Architecture
from models.training.checkpoints import has_checkpoint, read_checkpoint

Weights = dict[str, Tensor]


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
        path: the folder of a training run (its checkpoint is used, with the discriminator), a generator's folder, or a
            `weights.safetensors`.

    Raises:
        ValueError: neither is there, or it cannot be read.
    """
    device = torch.device("cpu")
    if path.is_dir() and has_checkpoint(path):
        state = read_checkpoint(path, device)
        if state is not None:
            architecture = Architecture(**state["architecture"])
            return Start(architecture, state["generator"], state["average"], state["discriminator"])
    file = path / "weights.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{path}: no generator there; name a folder with weights.safetensors, or such a file")
    generator = load_generator(file, device)
    weights = generator.state_dict()
    return Start(generator.architecture, weights, weights, None)
