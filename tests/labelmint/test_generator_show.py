"""A sheet of a generator's samples, by one command."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.architecture import Architecture
from models.checkpoint import save_tensors
from models.generator import Generator
from models.pictures import to_uint8
from tests.labelmint.test_cli import labelmint

CLASSES = 3
ARCHITECTURE = Architecture(8, 8, 8, mapping_layers=2, channel_base=64, channel_max=8, c_dim=CLASSES)


def test_classes_of_a_conditional_generator_take_turns(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        generator = Generator(ARCHITECTURE).eval().requires_grad_(False)
    facts = {"architecture": ARCHITECTURE.to_dict()}
    save_tensors(tmp_path / "weights.safetensors", generator.state_dict(), "generator", facts)
    layout = ["--columns", "2", "--rows", "2", "--zoom", "1", "--seed", "4", "--device", "cpu"]
    done = labelmint(tmp_path, "generator", "show", ".", *layout)
    assert done.returncode == 0, done.stderr
    sheet = np.asarray(Image.open(tmp_path / "samples.png").convert("RGB"), dtype=int)
    tiles = sheet.reshape(2, 8, 2, 8, 3).swapaxes(1, 2).reshape(4, 8, 8, 3)
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(4))
    expected = to_uint8(generator(z, c=torch.eye(CLASSES)[[0, 1, 2, 0]])).astype(int)
    assert np.abs(tiles - expected).max() <= 1
