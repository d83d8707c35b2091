"""The layout of rosinality's stylegan2-pytorch: a state dict whose shapes tell everything."""

import re
from typing import Any

from models.checkpoint import CheckpointError
from models.foreign.foreign_generator import ForeignGenerator, check_resample_filters, checked_architecture
from models.foreign.raw_storages import StoredTensor

MARKS = {"input.input", "conv1.conv.weight", "to_rgb1.conv.weight"}


def is_rosinality(content: object) -> bool:
    """Whether an unpickled file is a state dict in this layout, or a checkpoint with one under `g_ema`."""
    return isinstance(content, dict) and any(
        isinstance(state, dict) and state.keys() >= MARKS for state in (content.get("g_ema"), content)
    )


def rosinality_generator(content: dict[Any, Any]) -> ForeignGenerator:
    """The averaged generator of a checkpoint, or that of a bare state dict.

    Raises:
        CheckpointError: its shapes fit no StyleGAN2.
    """
    state = content["g_ema"] if isinstance(content.get("g_ema"), dict) else content
    wrong = [
        str(name)[:60] for name, t in state.items() if not isinstance(name, str) or not isinstance(t, StoredTensor)
    ]
    if wrong:
        raise CheckpointError(f"{wrong[0]!r} is not a plain tensor; save the state dict of the generator alone")
    tensors = {name: t for name, t in state.items() if not name.endswith(".kernel")}
    check_resample_filters({name: t for name, t in state.items() if name.endswith(".kernel")}, gain=4.0)
    average = content.get("latent_avg")
    if isinstance(average, StoredTensor):
        tensors["latent_avg"] = average
    layers = [name for name in tensors if re.fullmatch(r"style\.\d+\.weight", name)]
    levels = [name for name in tensors if re.fullmatch(r"to_rgbs\.\d+\.bias", name)]
    if not layers or not 1 <= len(levels) <= 8:
        raise CheckpointError("is laid out like rosinality's StyleGAN2, but without a mapping or colours")
    convolutions = ["conv1.conv.weight", *(f"convs.{2 * level}.conv.weight" for level in range(len(levels)))]
    features = _sizes(tensors, "style.1.weight", 2)[1]
    resolution = 4 << len(levels)
    architecture = checked_architecture(
        resolution=resolution,
        z_dim=features,
        w_dim=features,
        mapping_layers=len(layers),
        epsilon_on_mean=True,
        **_channels(resolution, [_sizes(tensors, name, 5)[1] for name in convolutions]),
    )
    facts = {"mapping_rate": architecture.mapping_rate}
    return ForeignGenerator(architecture, tensors, _rosinality_name, facts, [])


def _sizes(tensors: dict[str, StoredTensor], name: str, axes: int) -> tuple[int, ...]:
    if name not in tensors or len(tensors[name].shape) != axes:
        raise CheckpointError(f"lacks {name!r}, or holds it in another shape than StyleGAN2 has")
    return tensors[name].shape


def _channels(resolution: int, widths: list[int]) -> dict[str, Any]:
    """The fields of an `Architecture` that give `widths` channels from 4×4 up."""
    base, most = widths[-1] * resolution, max(widths)
    regular = widths == [min(base // (4 << level), most) for level in range(len(widths))]
    return {"channel_base": base, "channel_max": most, "widths": None if regular else tuple(widths)}


def _rosinality_name(name: str) -> str:
    """rosinality's name of one of our tensors."""
    if name == "synthesis.const":
        return "input.input"
    if name == "mapping.w_avg":
        return "latent_avg"
    if match := re.fullmatch(r"mapping\.layers\.(\d+)\.(.+)", name):
        return f"style.{int(match[1]) + 1}.{match[2]}"
    if match := re.fullmatch(r"synthesis\.blocks\.(\d+)\.(.+)", name):
        index, part = int(match[1]), match[2]
        if part == "noise_const":
            return f"noises.noise_{index}"
        parts = {"weight": "conv.weight", "bias": "activate.bias", "noise_strength": "noise.weight"}
        block = f"convs.{index - 1}" if index else "conv1"
        return f"{block}.{parts.get(part) or part.replace('affine', 'conv.modulation')}"
    if match := re.fullmatch(r"synthesis\.to_rgb\.(\d+)\.(.+)", name):
        index, part = int(match[1]), match[2]
        block = f"to_rgbs.{index - 1}" if index else "to_rgb1"
        return f"{block}.{'conv.weight' if part == 'weight' else part.replace('affine', 'conv.modulation')}"
    return name
