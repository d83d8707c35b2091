"""The layout of NVIDIA's stylegan2-ada-pytorch, and of the StyleGAN2 in its stylegan3 repository."""

import re
from collections.abc import Iterator
from typing import Any

from models.checkpoint import CheckpointError
from models.foreign.foreign_generator import ForeignGenerator, check_resample_filters, checked_architecture
from models.foreign.raw_storages import StoredTensor
from models.foreign.restricted_unpickler import PersistentObject

KNOWN_ARGUMENTS = {
    *("class_name", "z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs"),
    *("num_ws", "num_layers", "embed_features", "layer_features", "activation", "lr_multiplier", "w_avg_beta"),
    *("channel_base", "channel_max", "num_fp16_res", "architecture", "resample_filter", "conv_clamp", "use_noise"),
    *("use_fp16", "fp16_channels_last", "channels_last", "fused_modconv_default", "kernel_size"),
}
MOST_MODULES = 1000


def is_nvidia(content: object) -> bool:
    """Whether an unpickled file is a network of NVIDIA's, or a snapshot with one."""
    if isinstance(content, PersistentObject):
        return True
    return isinstance(content, dict) and any(isinstance(content.get(k), PersistentObject) for k in ("G_ema", "G"))


def nvidia_generator(content: object) -> ForeignGenerator:
    """The generator of a snapshot (its average, `G_ema`) or of a pickled network.

    Raises:
        CheckpointError: it is no StyleGAN2, or one that cannot be reproduced exactly.
    """
    notes: list[str] = []
    network = content
    if isinstance(content, dict):
        network = content.get("G_ema")
        if network is None:
            network = content.get("G")
            notes.append("it has no G_ema; G, whose weights are no average, was taken")
    if not isinstance(network, PersistentObject):
        raise CheckpointError("holds no generator: neither G_ema nor G is a network of NVIDIA's")
    mapping, synthesis = network.part("mapping"), network.part("synthesis")
    if not isinstance(mapping, PersistentObject) or not isinstance(synthesis, PersistentObject):
        raise CheckpointError(f"holds a network {network.class_name[:60]!r}, which is no StyleGAN2 generator")
    _refuse_other_generators(synthesis)
    arguments = _init_arguments(network, mapping, synthesis)
    blocks = [part for _, part in _parts(synthesis)]
    _refuse_other_blocks(blocks, arguments)
    tensors = {name: t for name, t in _tensors(network) if not name.endswith(".resample_filter")}
    check_resample_filters({n: t for n, t in _tensors(network) if n.endswith(".resample_filter")}, gain=1.0)
    layers = [part for block in blocks for name, part in _parts(block) if name in ("conv0", "conv1", "torgb")]
    styled = [part for block in blocks for name, part in _parts(block) if name in ("conv0", "conv1")]
    architecture = checked_architecture(
        resolution=_whole(network, "img_resolution", arguments),
        z_dim=_whole(network, "z_dim", arguments),
        w_dim=_whole(network, "w_dim", arguments),
        c_dim=_whole(network, "c_dim", arguments),
        mapping_layers=_whole(mapping, "num_layers", {"num_layers": 8} | arguments),
        mapping_width=arguments.get("layer_features"),
        embed_width=arguments.get("embed_features"),
        mapping_rate=_mapping_rate(mapping, arguments),
        channel_base=_whole(synthesis, "channel_base", {"channel_base": 32768} | arguments),
        channel_max=_whole(synthesis, "channel_max", {"channel_max": 512} | arguments),
        noise=_shared(styled, "use_noise", arguments.get("use_noise", True)) is not False,
        conv_clamp=_shared(layers, "conv_clamp", arguments.get("conv_clamp")),
    )
    half_blocks = sum(block.state.get("use_fp16") is True for block in blocks)
    if half_blocks:
        notes.append(f"its {half_blocks} finest blocks were trained in half precision; here they run as asked for")
    facts = {"init": {k: v for k, v in arguments.items() if _is_plain(k) and _is_plain(v)}}
    return ForeignGenerator(architecture, tensors, _nvidia_name, facts, notes)


def _is_plain(value: object) -> bool:
    """Whether it can be recorded: half a character in a text, which a pickle may hold, can be in no record."""
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and value.isprintable())


def _parts(module: PersistentObject) -> Iterator[tuple[str, PersistentObject]]:
    """The submodules, by name."""
    modules = module.state.get("_modules")
    for name, part in (modules if isinstance(modules, dict) else {}).items():
        if not isinstance(name, str) or not isinstance(part, PersistentObject):
            raise CheckpointError(f"holds a part {str(name)[:60]!r} that is no network of NVIDIA's")
        yield name, part


def _tensors(network: PersistentObject) -> Iterator[tuple[str, StoredTensor]]:
    """Every parameter and buffer with its dotted name."""
    waiting, seen = [("", network)], 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        if seen > MOST_MODULES or prefix.count(".") > 6:
            raise CheckpointError(f"has more than {MOST_MODULES} parts, or nests them too deeply for a StyleGAN2")
        for group in ("_parameters", "_buffers"):
            held = module.state.get(group)
            for name, tensor in (held if isinstance(held, dict) else {}).items():
                if tensor is None:
                    continue
                if not isinstance(name, str) or not isinstance(tensor, StoredTensor):
                    raise CheckpointError(f"{prefix}{str(name)[:60]} is not a plain tensor")
                yield prefix + name, tensor
        waiting += [(f"{prefix}{name[:60]}.", part) for name, part in _parts(module)]


def _init_arguments(*modules: PersistentObject) -> dict[str, Any]:
    """What the generator, its mapping and its synthesis were made with.

    Raises:
        CheckpointError: there is an argument whose meaning is not known.
    """
    found: dict[str, Any] = {}
    for module in modules:
        given = module.state.get("_init_kwargs")
        flat = dict(given) if isinstance(given, dict) else {}
        for group in ("mapping_kwargs", "synthesis_kwargs"):
            inner = flat.pop(group, None)
            flat = (dict(inner) if isinstance(inner, dict) else {}) | flat
        found |= flat
    for name, value in found.items():
        if name not in KNOWN_ARGUMENTS and value is not None:
            raise CheckpointError(
                f"was made with the argument {str(name)[:60]!r}, which NVIDIA's StyleGAN2 does not have; "
                "modified networks are not supported"
            )
    return {name: value for name, value in found.items() if name in KNOWN_ARGUMENTS}


def _refuse_other_generators(synthesis: PersistentObject) -> None:
    names = [name for name, _ in _parts(synthesis)]
    if "input" in names or any(re.fullmatch(r"L\d+_\d+_\d+", name) for name in names):
        raise CheckpointError("is a StyleGAN3, which is not supported yet; bring a StyleGAN2 (config stylegan2)")
    if not names or not all(re.fullmatch(r"b\d+", name) for name in names):
        raise CheckpointError("has a synthesis network that is not laid out as a StyleGAN2's")


def _refuse_other_blocks(blocks: list[PersistentObject], arguments: dict[str, Any]) -> None:
    """Let only skip architectures with leaky ReLU and three colours through."""
    for block in blocks:
        kind = block.state.get("architecture", arguments.get("architecture", "skip"))
        if kind != "skip" or block.part("skip") is not None:
            raise CheckpointError(
                f"has a synthesis network of the architecture {str(kind)[:20]!r}; only 'skip', NVIDIA's default for "
                "generators, is supported"
            )
        if block.state.get("img_channels", 3) != 3:
            raise CheckpointError(f"makes images of {str(block.state['img_channels'])[:9]} channels; RGB is needed")
        for name, layer in _parts(block):
            activation = layer.state.get("activation", arguments.get("activation", "lrelu"))
            if name != "torgb" and activation != "lrelu":
                raise CheckpointError(f"uses the activation {str(activation)[:20]!r}; only 'lrelu' is supported")


def _recorded(module: PersistentObject, name: str, arguments: dict[str, Any]) -> Any:
    """An attribute of a module, or the argument of that name where it kept none."""
    return module.state.get(name, arguments.get(name))


def _whole(module: PersistentObject, name: str, arguments: dict[str, Any]) -> int:
    value = _recorded(module, name, arguments)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise CheckpointError(f"does not say its {name} as a whole number")
    return int(value)


def _shared(layers: list[PersistentObject], name: str, default: Any) -> Any:
    """The value that all layers keep under `name`.

    Raises:
        CheckpointError: they differ.
    """
    values = [layer.state.get(name, default) for layer in layers]
    if not all(v is None or isinstance(v, bool | int | float) for v in values) or len(set(values)) > 1:
        raise CheckpointError(f"has layers that differ in {name}; modified networks are not supported")
    return values[0] if values else default


def _mapping_rate(mapping: PersistentObject, arguments: dict[str, Any]) -> Any:
    """The learning rate multiplier that the mapping's layers apply."""
    layers = [part for name, part in _parts(mapping) if name != "embed"]
    for layer in layers:
        if layer.state.get("activation", "lrelu") != "lrelu":
            raise CheckpointError("has a mapping with another activation than 'lrelu', which is not supported")
    return _shared(layers, "bias_gain", arguments.get("lr_multiplier", 0.01))


def _nvidia_name(name: str) -> str:
    """NVIDIA's name of one of our tensors."""
    if name == "synthesis.const":
        return "synthesis.b4.const"
    if match := re.fullmatch(r"mapping\.layers\.(\d+)\.(.+)", name):
        return f"mapping.fc{match[1]}.{match[2]}"
    if match := re.fullmatch(r"synthesis\.blocks\.(\d+)\.(.+)", name):
        level, conv = (int(match[1]) + 1) // 2, 1 - int(match[1]) % 2
        return f"synthesis.b{4 << level}.conv{conv}.{match[2]}"
    if match := re.fullmatch(r"synthesis\.to_rgb\.(\d+)\.(.+)", name):
        return f"synthesis.b{4 << int(match[1])}.torgb.{match[2]}"
    return name
