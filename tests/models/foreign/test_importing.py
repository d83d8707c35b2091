"""What is taken, what is refused and in which words, and what is said of what had to be made up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models.architecture import Architecture
from models.checkpoint import CheckpointError, half, save_tensors
from models.foreign.foreign_generator import LATENTS
from models.foreign.importing import import_checkpoint
from models.generator import Generator as OurGenerator
from tests.models.foreign.nvidia_files import Generator, Persistent, snapshot, write_pickle
from tests.models.foreign.rosinality_files import rosinality_state


def tiny_generator(**changes: Any) -> Generator:
    torch.manual_seed(0)
    values = {"z_dim": 8, "c_dim": 0, "w_dim": 8, "img_resolution": 16, "mapping_kwargs": {"num_layers": 2}}
    synthesis = {"channel_base": 64, "channel_max": 8} | changes.pop("synthesis_kwargs", {})
    return Generator(**(values | changes), synthesis_kwargs=synthesis).requires_grad_(False)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(path)
    assert str(caught.value).startswith(f"{path.name}: ")
    return str(caught.value)


def test_an_imported_generator_is_frozen_float32_and_told_about(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "whatever.png", snapshot(tiny_generator()))
    said: list[str] = []
    imported = import_checkpoint(path, said.append)
    parameters = list(imported.generator.parameters())
    assert not any(p.requires_grad for p in parameters)
    assert {t.dtype for t in imported.generator.state_dict().values()} == {torch.float32}
    assert not imported.generator.training
    assert imported.facts["init"]["channel_base"] == 64
    assert imported.facts["notes"] == []
    assert len(said) == 2


def test_the_average_is_taken_and_its_absence_told(tmp_path: Path) -> None:
    content = snapshot(tiny_generator())
    content["G"] = tiny_generator()
    content["G"].synthesis.b4.const.add_(1)
    imported = import_checkpoint(write_pickle(tmp_path / "a.pkl", content))
    assert torch.equal(imported.generator.synthesis.const, content["G_ema"].synthesis.b4.const)
    del content["G_ema"]
    imported = import_checkpoint(write_pickle(tmp_path / "a.pkl", content))
    assert torch.equal(imported.generator.synthesis.const, content["G"].synthesis.b4.const)
    assert "no G_ema" in imported.facts["notes"][0]


@pytest.mark.parametrize("c_dim", [0, 3])
def test_a_missing_mean_latent_is_measured_and_told(c_dim: int, tmp_path: Path) -> None:
    theirs = tiny_generator(c_dim=c_dim, mapping_kwargs={"num_layers": 2, "w_avg_beta": None})
    path = write_pickle(tmp_path / "a.pkl", theirs)
    imported = import_checkpoint(path)
    mapping = imported.generator.mapping
    random = torch.Generator().manual_seed(99)
    w = mapping(torch.randn(60_000, 8, generator=random), c=mapping.random_classes(60_000, random))
    # The standard error of a mean over so many samples.
    assert (mapping.w_avg - w.mean(0)).abs().max() < 6 * w.std(0).max() / LATENTS**0.5
    assert torch.equal(import_checkpoint(path).generator.mapping.w_avg, mapping.w_avg)
    assert any("w_avg was missing" in note for note in imported.facts["notes"])


@pytest.mark.parametrize("asked", [0, 1, 4])
def test_the_blocks_of_half_precision_are_counted_where_they_are(asked: int, tmp_path: Path) -> None:
    theirs = tiny_generator(synthesis_kwargs={"num_fp16_res": asked})
    # The stylegan3 repository's default is four, which its arguments then do not say.
    del theirs.synthesis._init_kwargs["num_fp16_res"], theirs._init_kwargs["synthesis_kwargs"]["num_fp16_res"]
    notes = import_checkpoint(write_pickle(tmp_path / "a.pkl", theirs)).facts["notes"]
    # The 4×4 block is never in half precision, so that of three blocks two are.
    blocks = min(asked, 2)
    assert [note.partition(" finest")[0] for note in notes] == ([f"its {blocks}"] if blocks else [])


def test_missing_noise_is_drawn_and_told(tmp_path: Path) -> None:
    state = {name: t for name, t in rosinality_state([8, 8], 8).items() if not name.startswith("noises.")}
    torch.save({"g_ema": state, "latent_avg": torch.zeros(1, 8)}, tmp_path / "a.pt")
    imported = import_checkpoint(tmp_path / "a.pt")
    assert 0.8 < imported.generator.synthesis.blocks[1].noise_const.std() < 1.2
    assert any("noise was missing" in note for note in imported.facts["notes"])


@pytest.mark.parametrize("precise", [True, False])
def test_our_own_files_come_back_as_they_were(precise: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours = OurGenerator(Architecture(16, 8, 8, 2, 64, 8, c_dim=2, conv_clamp=4.0, widths=(8, 6, 5))).eval()
    tensors = ours.state_dict() if precise else half(ours.state_dict())
    save_tensors(tmp_path / "a.bin", tensors, "generator", {"architecture": ours.architecture.to_dict()})
    imported = import_checkpoint(tmp_path / "a.bin")
    assert imported.source == "labelmint"
    assert imported.generator.architecture == ours.architecture
    assert all(torch.equal(t.float(), tensors[n].float()) for n, t in imported.generator.state_dict().items())


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ({"resolution": 16, "z_dim": 8}, "does not fit its own architecture"),
        ({"resolution": 1000}, "resolution 1000"),
        ({"resolution": 16, "mapping_layers": 10**9}, "mapping_layers"),
        ({"resolution": 16, "channel_max": 2**60, "channel_base": 2**60}, "channels at 4"),
        ({"resolution": 16, "color": 1}, "cannot be built"),
        ({"resolution": 16, "w_dim": "8"}, "w_dim '8'"),
        ({"resolution": 1024, "channel_base": 2**24, "channel_max": 2**14}, "500000000 are the most"),
        ([], "does not say its architecture"),
    ],
)
def test_our_own_files_are_checked_too(architecture: Any, reason: str, tmp_path: Path) -> None:
    ours = OurGenerator(Architecture(16, 8, 8, 2, 64, 8))
    save_tensors(tmp_path / "a.safetensors", ours.state_dict(), "generator", {"architecture": architecture})
    assert reason in refusal(tmp_path / "a.safetensors")


def changed(change: Callable[[Generator], object]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        generator = tiny_generator()
        change(generator)
        return write_pickle(folder / "a.pkl", snapshot(generator))

    return write


def poison(parameter: torch.Tensor, value: float) -> None:
    parameter.view(-1)[-1] = value


def rename(generator: Generator) -> None:
    generator.mapping.fc7 = generator.mapping.fc1


def loop(generator: Generator) -> None:
    """Give a block a part that has the block's own parts."""
    block, part = generator.synthesis.b4, Persistent()
    part.__dict__["_modules"] = block._modules
    block.add_module("again", part)


WRONG_WEIGHTS = {
    "NaN": (changed(lambda g: poison(g.synthesis.b8.conv0.weight, torch.nan)), "'synthesis.b8.conv0.weight' holds NaN"),
    "infinite": (changed(lambda g: poison(g.mapping.w_avg, torch.inf)), "'mapping.w_avg' holds NaN or infinite"),
    "whole numbers": (
        changed(lambda g: g.mapping.register_buffer("w_avg", torch.zeros(8, dtype=torch.int32))),
        "int32 where weights are floating point",
    ),
    "misshapen": (
        changed(lambda g: setattr(g.synthesis.b8.conv0, "weight", nn.Parameter(torch.randn(8, 7, 3, 3)))),
        "has shape (8, 7, 3, 3) where its configuration needs (8, 8, 3, 3)",
    ),
    "turned": (
        changed(lambda g: setattr(g.synthesis.b16.conv0, "weight", nn.Parameter(torch.randn(8, 4, 3, 3)))),
        "has shape (8, 4, 3, 3) where its configuration needs (4, 8, 3, 3)",
    ),
    "missing": (changed(lambda g: delattr(g.synthesis.b16.torgb, "bias")), "lacks 1 of its tensors"),
    "missing part": (changed(lambda g: delattr(g.synthesis, "b4")), "lacks"),
    "superfluous": (changed(rename), "'mapping.fc7.bias'; it may come from a modified network"),
    "lying": (changed(lambda g: setattr(g, "img_resolution", 64)), "lacks"),
    "no resolution": (changed(lambda g: setattr(g, "img_resolution", None)), "img_resolution"),
    "odd resolution": (changed(lambda g: setattr(g, "img_resolution", 48)), "resolution 48"),
    "absurd": (changed(lambda g: setattr(g, "z_dim", 10**12)), "z_dim 1000000000000"),
    "cyclic": (changed(loop), "nests them too deeply"),
}


@pytest.mark.parametrize("wrong", WRONG_WEIGHTS)
def test_wrong_weights_are_refused_by_name(wrong: str, tmp_path: Path) -> None:
    write, reason = WRONG_WEIGHTS[wrong]
    assert reason in refusal(write(tmp_path))


def with_attribute(part: str, name: str, value: object) -> Callable[[Path], Path]:
    return changed(lambda g: setattr(g.get_submodule(part), name, value))


def stylegan3(generator: Generator) -> None:
    generator.synthesis.add_module("input", Persistent())
    generator.synthesis.add_module("L0_36_512", Persistent())


def gray(folder: Path) -> Path:
    return write_pickle(folder / "a.pkl", snapshot(tiny_generator(img_channels=1)))


def resnet(folder: Path) -> Path:
    return write_pickle(folder / "a.pkl", tiny_generator(synthesis_kwargs={"architecture": "resnet"}))


def modified(folder: Path) -> Path:
    return write_pickle(folder / "a.pkl", tiny_generator(synthesis_kwargs={"attention": 4}))


def torch_file(content: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.save(content, folder / "a.pt")
        return folder / "a.pt"

    return write


def raw_file(content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "a.pkl").write_bytes(content)
        return folder / "a.pkl"

    return write


def other_kernel() -> dict[str, torch.Tensor]:
    state = rosinality_state([8, 8], 8)
    state["convs.0.conv.blur.kernel"].fill_(0.25)
    return state


def test_half_a_character_is_not_recorded(tmp_path: Path) -> None:
    write = changed(lambda generator: generator.synthesis._init_kwargs.update(num_fp16_res="\ud800"))
    facts = import_checkpoint(write(tmp_path)).facts
    assert json.dumps(facts, ensure_ascii=False).encode()
    assert facts["init"]["channel_base"] == 64


UNSUPPORTED = {
    "StyleGAN3": (changed(stylegan3), "is a StyleGAN3, which is not supported yet"),
    "resnet": (resnet, "architecture 'resnet'; only 'skip'"),
    "orig": (with_attribute("synthesis.b8", "architecture", "orig"), "architecture 'orig'; only 'skip'"),
    "gray": (gray, "images of 1 channels; RGB is needed"),
    "modified": (modified, "argument 'attention'"),
    "activation": (with_attribute("synthesis.b8.conv1", "activation", "swish"), "activation 'swish'"),
    "clamps": (with_attribute("synthesis.b8.conv1", "conv_clamp", 3), "differ in conv_clamp"),
    "filter": (changed(lambda g: g.synthesis.b8.resample_filter.fill_(1 / 16)), "is not the filter [1, 3, 3, 1]"),
    "kernel": (torch_file({"g_ema": other_kernel()}), "is not the filter [1, 3, 3, 1]"),
    "discriminator alone": (lambda f: write_pickle(f / "a.pkl", Persistent()), "no StyleGAN2 generator"),
    "TensorFlow": (raw_file(b"\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81."), "legacy.py of stylegan2-ada-pytorch"),
    "StyleGAN1": (torch_file({"g_mapping.dense0.weight": torch.zeros(2)}), "is a StyleGAN1"),
    "StyleGAN1, other": (torch_file({"g_running": {"generator.progression.0.x": torch.zeros(2)}}), "is a StyleGAN1"),
    "pSp": (torch_file({"state_dict": {"decoder.conv1.conv.weight": torch.zeros(2)}}), "encoder"),
    "whole module": (torch_file({"g_ema": nn.Linear(2, 2)}), "no StyleGAN2 that is known here"),
    "other": (torch_file({"lr": 3}), "holds 'lr' and no StyleGAN2"),
    "unprintable": (torch_file({"a\x1b[2J\n\ud800": 3}), r"holds 'a\x1b[2J\n\ud800' and no StyleGAN2"),
    "list": (torch_file([1, 2]), "holds no state dict"),
    "empty": (raw_file(b""), "is empty; send a StyleGAN2 as"),
    "text": (raw_file(b"hello, this is not a checkpoint"), "is no checkpoint that is known here"),
    "png": (raw_file(b"\x89PNG\r\n\x1a\n" + bytes(20)), "is a PNG image"),
    "web page": (raw_file(b"<!DOCTYPE html><html></html>"), "is a web page"),
    "pointer": (raw_file(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
    "gzip": (raw_file(b"\x1f\x8b\x08" + bytes(20)), "unpack it first"),
    "old pickle": (raw_file(b"\x80\x01]" + bytes(20)), "is no checkpoint"),
}


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_what_is_not_supported_is_called_by_its_name(what: str, tmp_path: Path) -> None:
    write, reason = UNSUPPORTED[what]
    assert reason in refusal(write(tmp_path))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "nowhere.pkl")
    (tmp_path / "folder").mkdir()
    assert "cannot be read" in refusal(tmp_path / "folder")
