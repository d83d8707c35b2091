"""Commands that work on generators find the weights of other networks where the service's settings say they are."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from torchvision.models import squeezenet1_1

from tests.labelmint.test_cli import labelmint
from tests.workers.world import write_generator

NO_CACHE = {"TORCH_HOME": "no-cache", "COLUMNS": "400"}
SHORT = ["--steps-code", "1", "--steps-image", "1", "--batch", "2", "--device", "cpu"]


def encode(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return labelmint(folder, "generator", "encode", "run", *SHORT, *arguments, timeout=300, **NO_CACHE, **environment)


def perceptual(folder: Path) -> str:
    facts = json.loads((folder / "run" / "provenance.json").read_text())
    return str(facts["encoder"]["perceptual"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with the folder `run` of a generator."""
    write_generator(tmp_path / "run")
    return tmp_path


def test_an_encoder_is_trained_by_the_network_that_the_settings_name(run: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.save(squeezenet1_1(weights=None).state_dict(), run / "squeeze.pth")
    settings = {"LABELMINT_LPIPS_BACKBONE": "squeeze", "LABELMINT_LPIPS_WEIGHTS": "squeeze.pth"}
    done = encode(run, **settings)
    assert done.returncode == 0, done.stderr
    assert perceptual(run) == "squeeze, pretrained weights"
    assert "random" not in done.stderr
    other = encode(run, "--lpips-backbone", "alex", **settings)
    assert other.returncode == 0, "the file is of another backbone, and not for this one"
    assert perceptual(run) == "alex, random weights"
    assert "features of a random alex" in other.stderr
    assert "LABELMINT_LPIPS_WEIGHTS" in other.stderr
    refused = encode(run, "--lpips-weights", "other.pth", **settings)
    assert refused.returncode == 2
    assert refused.stderr.startswith("Error: --lpips-weights, LABELMINT_LPIPS_WEIGHTS: other.pth: not the torchvision")
    assert len(refused.stderr.strip().splitlines()) == 1


def test_a_training_is_measured_by_the_weights_that_the_settings_name(tmp_path: Path) -> None:
    command = ["generator", "train", "--bears", "16", "--out", "run", "--device", "cpu"]
    refused = labelmint(tmp_path, *command, LABELMINT_INCEPTION_WEIGHTS="of-settings.pth")
    assert refused.returncode == 2
    assert refused.stderr.startswith("Error: --features-weights, LABELMINT_INCEPTION_WEIGHTS: of-settings.pth: ")
    assert not (tmp_path / "run").exists()
    (tmp_path / "given.pth").write_bytes(b"not weights")
    size = ["--features-weights", "given.pth", "--minimum-images", "2", "--resolution", "8", "--samples", "2"]
    other = labelmint(tmp_path, *command, *size, LABELMINT_INCEPTION_WEIGHTS="of-settings.pth")
    assert other.returncode == 2
    assert "given.pth: not torchvision's weights of inception_v3" in other.stderr
