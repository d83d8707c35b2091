"""StyleGAN2 as its authors' own code builds, runs and saves it, from a checkout of that code: started by
`benchmarks.parity`, one process for each checkout.

Reads a configuration on each line of the standard input; writes into the folder that it names, and answers with a line.
Nothing here knows how labelmint reads or computes anything.
"""

import argparse
import copy
import importlib
import importlib.util
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.torch_version import TorchVersion

CHECKPOINT, RECORD = "checkpoint", "theirs.safetensors"
"""What is written: the file as its authors write it, and what they compute, by name: latents `z`, one-hot classes `c`
and, for one truncation after another, `w`, `features.N` and `colors.N` from coarse to fine, and `images`."""

Network = Any
"""An object of foreign code."""

Record = dict[str, list[Tensor]]


@torch.no_grad()
def move_from_start(network: nn.Module, convolutions: float = 1.0) -> None:
    """Change at random what training starts from at zero or one, so that no term of the arithmetic is trivial; and
    multiply the weights of 3×3 convolutions, which demodulation undoes but for its epsilon."""
    for module in network.modules():
        gain = getattr(module, "bias_gain", None) or getattr(module, "lr_mul", None) or 1.0
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if name == "bias":
                tensor.add_(torch.randn_like(tensor), alpha=0.2 / gain)
            elif tensor.numel() == 1:
                tensor.copy_(0.3 * torch.randn_like(tensor))
            elif name == "w_avg":
                tensor.copy_(0.5 * torch.randn_like(tensor))
            elif name == "weight" and tensor.shape[-1] == 3:
                tensor.mul_(convolutions)


def listen(record: Record, modules: list[nn.Module], name: str) -> None:
    """Note what each module puts out under the name and its place."""

    def note(index: int) -> Callable[..., None]:
        return lambda _module, _, out: record.setdefault(f"{name}.{index}", []).append(out)

    for index, module in enumerate(modules):
        module.register_forward_hook(note(index))


def nvidia_generator(options: dict[str, Any]) -> Network:
    """A generator with random weights.

    options: `network`, its module; `flat`, whether arguments of the synthesis are the generator's own; `mapping` and
    `synthesis`, arguments of these; and sizes.
    """
    dnnlib = importlib.import_module("dnnlib")
    module = importlib.import_module(options["network"])
    sizes = {"z_dim": 512, "w_dim": 512, "c_dim": 0, "img_channels": 3, "img_resolution": options["resolution"]}
    sizes |= {name: options[name] for name in sizes.keys() & options.keys()}
    synthesis = dnnlib.EasyDict(options.get("synthesis", {}))
    inner = synthesis if options.get("flat") else {"synthesis_kwargs": synthesis}
    mapping = dnnlib.EasyDict(options.get("mapping", {}))
    network = module.Generator(**sizes, mapping_kwargs=mapping, **inner).requires_grad_(False)
    move_from_start(network, options.get("convolutions", 1.0))
    return network


def unlike(network: Network) -> Network:
    """A copy with other weights, to be saved beside its average."""
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.mul_(1.1)
    return other


def save_nvidia(path: Path, options: dict[str, Any], average: Network) -> None:
    """Pickle a snapshot as the training loop does: copies on the CPU, in evaluation mode, without gradients."""
    module = importlib.import_module(options.get("discriminator", options["network"]))
    sizes = {"c_dim": average.c_dim, "img_resolution": average.img_resolution, "img_channels": average.img_channels}
    widths = {name: n for name, n in options.get("synthesis", {}).items() if name in ("channel_base", "channel_max")}
    discriminator = module.Discriminator(**sizes, **widths)
    pipe = importlib.import_module("training.augment").AugmentPipe(xflip=1, rotate90=1, scale=1, brightness=1)
    networks = {"G": unlike(average), "D": discriminator, "G_ema": average, "augment_pipe": pipe}
    frozen = {name: copy.deepcopy(part).eval().requires_grad_(False).cpu() for name, part in networks.items()}
    training_set = {"class_name": "training.dataset.ImageFolderDataset", "path": "images.zip", "xflip": False}
    with path.open("wb") as file:
        pickle.dump({**frozen, "training_set_kwargs": training_set}, file, options.get("protocol"))


def run_nvidia(options: dict[str, Any], folder: Path) -> None:
    """Write a snapshot; and what its `G_ema` makes of latents, in float32 and with its fixed noise."""
    average = nvidia_generator(options).eval()
    save_nvidia(folder / CHECKPOINT, options, average)
    if options.get("refusal"):
        return
    record: Record = {}

    def kind(name: str) -> list[nn.Module]:
        return [part for part in average.synthesis.modules() if type(part).__name__ == name]

    listen(record, kind("SynthesisLayer"), "features")
    listen(record, kind("ToRGBLayer"), "colors")
    average.mapping.register_forward_hook(lambda _module, _, ws: record.setdefault("w", []).append(ws[:, 0]))
    z, c = torch.randn(options["latents"], average.z_dim), None
    if average.c_dim:
        c = F.one_hot(torch.tensor(options["classes"]), average.c_dim).float()
    for truncation in options["truncations"]:
        images = average(z, c, truncation_psi=truncation, noise_mode="const", force_fp32=True)
        record.setdefault("images", []).append(images)
    write_record(folder, record, {"z": z} if c is None else {"z": z, "c": c})


def rosinality_content(options: dict[str, Any], networks: dict[str, Network], mean: Tensor) -> dict[str, Any]:
    """What convert_weight.py saves, or what train.py does: with optimisers and arguments, and without a mean latent."""
    average = networks["g_ema"].state_dict()
    if not options.get("training"):
        return {"g_ema": average, "latent_avg": mean}
    optimizers = {f"{name}_optim": torch.optim.Adam(networks[name].parameters(), betas=(0.0, 0.99)) for name in "gd"}
    for name in "gd":
        for parameter in networks[name].parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizers[f"{name}_optim"].step()
    states = {name: part.state_dict() for name, part in [*networks.items(), *optimizers.items()]}
    return {**states, "args": argparse.Namespace(size=options["resolution"], path="images.lmdb"), "ada_aug_p": 0.25}


def run_rosinality(options: dict[str, Any], folder: Path) -> None:
    """Write a checkpoint; and what its `g_ema` makes of latents, with its registered noise."""
    model = importlib.import_module("model")
    width, depth, multiplier = options.get("width", 512), options.get("depth", 8), options["multiplier"]
    average = model.Generator(options["resolution"], width, depth, channel_multiplier=multiplier).eval()
    move_from_start(average, options.get("convolutions", 1.0))
    networks = {"g": unlike(average), "d": model.Discriminator(options["resolution"], multiplier)}
    mean = 0.5 * torch.randn(width)
    content = rosinality_content(options, {**networks, "g_ema": average}, mean)
    torch.save(content, folder / CHECKPOINT, _use_new_zipfile_serialization=not options.get("old_format"))
    record: Record = {}
    listen(record, [average.conv1, *average.convs], "features")
    colors = [average.to_rgb1, *average.to_rgbs]
    # A ToRGB adds the coarser image to its own colours; those are compared alone.
    listen(record, [part.conv for part in colors], "colors")
    z = torch.randn(options["latents"], width)
    for truncation in options["truncations"]:
        given = {"truncation": truncation, "truncation_latent": mean, "randomize_noise": False}
        images, latents = average([z], return_latents=True, **given)
        record.setdefault("images", []).append(images)
        record.setdefault("w", []).append(latents[:, 0])
    for index, part in enumerate(colors):
        record[f"colors.{index}"] = [color + part.bias for color in record[f"colors.{index}"]]
    write_record(folder, record, {"z": z})


def write_record(folder: Path, record: Record, given: dict[str, Tensor]) -> None:
    """All that was noted, truncations one after another, beside what it was made from."""
    tensors = given | {name: torch.cat(parts) for name, parts in record.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / RECORD)


def make_importable() -> None:
    """Let code of 2020 and 2021 be imported: its kernels for GPUs stay uncompiled, so that its PyTorch code is used,
    and `pkg_resources`, which setuptools no longer brings, compares versions and no more."""
    import torch.utils.cpp_extension

    torch.utils.cpp_extension.load = lambda *_, **__: None
    if importlib.util.find_spec("pkg_resources") is None:
        sys.modules["pkg_resources"] = ModuleType("pkg_resources")
        sys.modules["pkg_resources"].parse_version = TorchVersion


def main() -> None:
    """Answer every line of the standard input once what it asks for is written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    sys.path.insert(0, str(parser.parse_args().checkout.resolve()))
    # Whatever their code prints, answers stay alone on the standard output.
    answers, sys.stdout = sys.stdout, sys.stderr
    make_importable()
    for line in sys.stdin:
        options = json.loads(line)
        torch.manual_seed(options["seed"])
        run = run_rosinality if "multiplier" in options else run_nvidia
        with torch.no_grad():
            run(options, Path(options["folder"]))
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
