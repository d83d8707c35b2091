"""Imported generators against the paper's arithmetic in float64, from the same files."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.architecture import Architecture
from models.foreign.importing import ImportedGenerator, import_checkpoint
from tests.models.foreign.nvidia_files import Generator as NvidiaGenerator
from tests.models.foreign.nvidia_files import snapshot, write_pickle
from tests.models.foreign.rosinality_files import rosinality_state
from tests.models.reference_stylegan2 import Reference, nvidia_reference, rosinality_reference

TOLERANCE = 1e-4


def assert_equal(imported: ImportedGenerator, expected: Reference, z: Tensor, truncation: float, **given: Any) -> None:
    """Images, w and every style block's features, to 1e-4 of what is there."""
    generator = imported.generator
    w = generator.mapping(z, truncation, **given)
    images, features = generator.synthesis(generator.broadcast(w))
    assert (w - expected.w).abs().max() < TOLERANCE
    assert len(features) == len(expected.features) == generator.architecture.num_ws - 1
    for ours, theirs in zip(features, expected.features, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < TOLERANCE
    assert images.dtype == torch.float32
    assert expected.images.std() > 0.1, "the test would compare nothing"
    assert (images - expected.images).abs().max() < TOLERANCE
    assert torch.equal(generator(z, truncation, **given), images)


CONFIGURATIONS = {
    "mapping of two": {"mapping_kwargs": {"num_layers": 2}},
    "mapping of eight": {"mapping_kwargs": {"num_layers": 8}},
    "mapping of three, own widths": {"mapping_kwargs": {"num_layers": 3, "layer_features": 24, "lr_multiplier": 0.1}},
    "no noise": {"synthesis_kwargs": {"use_noise": False}, "mapping_kwargs": {"num_layers": 1}},
    "half-precision blocks": {"synthesis_kwargs": {"num_fp16_res": 2, "conv_clamp": 256}, "flat": True},
    "odd widths": {"synthesis_kwargs": {"channel_base": 400, "channel_max": 21}, "z_dim": 24, "flat": True},
    "64 pixels": {"img_resolution": 64, "synthesis_kwargs": {"channel_base": 512, "channel_max": 16}},
}


def nvidia_generator(**configuration: Any) -> NvidiaGenerator:
    synthesis = {"channel_base": 256, "channel_max": 16} | configuration.pop("synthesis_kwargs", {})
    values = {"z_dim": 16, "c_dim": 0, "w_dim": 16, "img_resolution": 32} | configuration
    return NvidiaGenerator(**values, synthesis_kwargs=synthesis).requires_grad_(False)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_an_nvidia_snapshot_makes_the_papers_images(name: str, tmp_path: Path) -> None:
    torch.manual_seed(len(name))
    theirs = nvidia_generator(**CONFIGURATIONS[name])
    imported = import_checkpoint(write_pickle(tmp_path / "network.pkl", snapshot(theirs)))
    assert imported.source == "nvidia"
    z = torch.randn(3, theirs.z_dim)
    clamp = CONFIGURATIONS[name].get("synthesis_kwargs", {}).get("conv_clamp")
    rate = CONFIGURATIONS[name].get("mapping_kwargs", {}).get("lr_multiplier", 0.01)
    for truncation in (0.5, 0.7, 1.0):
        expected = nvidia_reference(theirs.state_dict(), z, truncation, clamp=clamp, rate=rate)
        assert_equal(imported, expected, z, truncation)


def test_a_clamp_that_bites_is_applied_where_nvidia_applies_it(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = nvidia_generator(synthesis_kwargs={"conv_clamp": 0.75}, mapping_kwargs={"num_layers": 2})
    imported = import_checkpoint(write_pickle(tmp_path / "network.pkl", theirs))
    z = torch.randn(3, 16)
    expected = nvidia_reference(theirs.state_dict(), z, 1.0, clamp=0.75)
    assert_equal(imported, expected, z, 1.0)
    free = nvidia_reference(theirs.state_dict(), z, 1.0)
    assert (free.images - expected.images).abs().max() > 0.5
    assert all((f.abs() <= 0.75).all() and (f.abs() == 0.75).any() for f in expected.features)


@pytest.mark.parametrize("features", [None, 12])
def test_classes_reach_the_image_as_in_nvidias_conditional_generator(features: int | None, tmp_path: Path) -> None:
    torch.manual_seed(2)
    theirs = nvidia_generator(c_dim=5, mapping_kwargs={"num_layers": 2, "embed_features": features})
    imported = import_checkpoint(write_pickle(tmp_path / "network.pkl", snapshot(theirs)))
    assert imported.generator.architecture.c_dim == 5
    z, classes = torch.randn(3, 16), torch.eye(5)[[0, 3, 4]]
    for truncation in (0.5, 1.0):
        expected = nvidia_reference(theirs.state_dict(), z, truncation, classes)
        assert_equal(imported, expected, z, truncation, c=classes)
    other = imported.generator(z, c=torch.eye(5)[[1, 3, 4]])
    assert not torch.allclose(other[0], imported.generator(z, c=classes)[0], atol=0.01)
    with pytest.raises(ValueError, match="one of its 5 classes"):
        imported.generator(z)
    with pytest.raises(ValueError, match="one of its 5 classes"):
        imported.generator(z, c=torch.eye(4)[:3])


@pytest.mark.parametrize("scale", [1e-3, 1e-5])
def test_tiny_weights_meet_the_epsilons_of_both_layouts(scale: float, tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = nvidia_generator(mapping_kwargs={"num_layers": 2})
    for name, parameter in theirs.synthesis.named_parameters():
        if name.endswith(("conv0.weight", "conv1.weight")):
            parameter.mul_(scale)
    imported = import_checkpoint(write_pickle(tmp_path / "network.pkl", theirs))
    z = torch.randn(2, 16)
    assert_equal(imported, nvidia_reference(theirs.state_dict(), z), z, 1.0)
    state = rosinality_state([16, 16, 8])
    for name, tensor in state.items():
        if name.endswith(".conv.weight") and "rgb" not in name:
            tensor.mul_(scale)
    torch.save({"g_ema": state, "latent_avg": torch.zeros(16)}, tmp_path / "network.pt")
    expected = rosinality_reference(state, torch.zeros(16), z)
    assert_equal(import_checkpoint(tmp_path / "network.pt"), expected, z, 1.0)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("widths", "layers"), [([16, 16, 16, 8], 8), ([12, 12, 12, 12, 24, 10], 2), ([16, 16, 16, 16], 3)]
)
def test_a_rosinality_checkpoint_makes_the_papers_images(
    widths: list[int], layers: int, zipped: bool, tmp_path: Path
) -> None:
    torch.manual_seed(4)
    state, mean = rosinality_state(widths, mapping_layers=layers), 0.3 * torch.randn(16)
    content = {"g": state, "g_ema": state, "latent_avg": mean, "args": argparse.Namespace(size=32), "ada_aug_p": 0.1}
    torch.save(content, tmp_path / "stylegan2.pt", _use_new_zipfile_serialization=zipped)
    imported = import_checkpoint(tmp_path / "stylegan2.pt")
    assert imported.source == "rosinality"
    assert [imported.generator.architecture.channels(4 << i) for i in range(len(widths))] == widths
    assert Architecture(**imported.generator.architecture.to_dict()) == imported.generator.architecture
    z = torch.randn(3, 16)
    for truncation in (0.5, 0.7, 1.0):
        assert_equal(imported, rosinality_reference(state, mean, z, truncation), z, truncation)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_both_channel_multipliers_give_nvidias_channel_base(multiplier: int, tmp_path: Path) -> None:
    torch.manual_seed(5)
    widths = [64] * 4 + [32 * multiplier, 16 * multiplier]
    state = rosinality_state(widths, w_dim=8)
    torch.save(state, tmp_path / "bare.pt")
    imported = import_checkpoint(tmp_path / "bare.pt")
    architecture = imported.generator.architecture
    assert (architecture.channel_base, architecture.channel_max, architecture.widths) == (2048 * multiplier, 64, None)
    z = torch.randn(2, 8)
    expected = rosinality_reference(state, imported.generator.mapping.w_avg, z, 0.7)
    assert_equal(imported, expected, z, 0.7)
