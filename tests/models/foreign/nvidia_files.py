"""Writes pickles as NVIDIA's training does: modules that reduce to a call of `torch_utils.persistence` with their
source code, their attributes and their tensors. Only what is stored is here; nothing of it can make an image."""

import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

SOURCE = "raise SystemExit('the source in a checkpoint was executed')\n"


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    raise AssertionError("nothing in a file may be called")


class EasyDict(dict):
    pass


def installed_modules() -> dict[str, ModuleType]:
    """Stand-ins for NVIDIA's own modules, under the names that pickles refer to."""
    modules = {name: ModuleType(name) for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")}
    modules["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj
    modules["dnnlib.util"].EasyDict = EasyDict
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    EasyDict.__module__ = "dnnlib.util"
    return modules


class Persistent(nn.Module):
    source = SOURCE

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self._init_args, self._init_kwargs = (), EasyDict(kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": type(self).__name__}
        return _reconstruct_persistent_obj, ({**meta, "state": self.__dict__},), None, None, None


class FullyConnectedLayer(Persistent):
    def __init__(self, in_features, out_features, activation="linear", lr_multiplier=1, bias_init=0):
        super().__init__(activation=activation, lr_multiplier=lr_multiplier)
        self.activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter((torch.randn(out_features) * 0.1 + bias_init) / lr_multiplier)
        self.weight_gain = lr_multiplier / in_features**0.5
        self.bias_gain = lr_multiplier


class MappingNetwork(Persistent):
    def __init__(self, z_dim, c_dim, w_dim, num_ws, num_layers=8, lr_multiplier=0.01, w_avg_beta=0.995, **features):
        super().__init__(z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, num_ws=num_ws, num_layers=num_layers, **features)
        self.z_dim, self.c_dim, self.w_dim, self.num_ws, self.num_layers = z_dim, c_dim, w_dim, num_ws, num_layers
        self.w_avg_beta = w_avg_beta
        embedded = (features.get("embed_features") or w_dim) if c_dim else 0
        inner = features.get("layer_features") or w_dim
        widths = [z_dim + embedded] + [inner] * (num_layers - 1) + [w_dim]
        if c_dim:
            self.embed = FullyConnectedLayer(c_dim, embedded)
        for i in range(num_layers):
            self.add_module(f"fc{i}", FullyConnectedLayer(widths[i], widths[i + 1], "lrelu", lr_multiplier))
        if w_avg_beta is not None:
            self.register_buffer("w_avg", torch.randn(w_dim) * 0.3)


def resample_filter():
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64


class SynthesisLayer(Persistent):
    def __init__(self, in_channels, out_channels, w_dim, resolution, up, use_noise, conv_clamp, channels_last):
        super().__init__(conv_clamp=conv_clamp, use_noise=use_noise, channels_last=channels_last)
        self.up, self.use_noise, self.conv_clamp, self.activation = up, use_noise, conv_clamp, "lrelu"
        self.resolution, self.padding, self.act_gain = resolution, 1, 2**0.5
        self.register_buffer("resample_filter", resample_filter())
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        form = torch.channels_last if channels_last else torch.contiguous_format
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3).to(memory_format=form))
        if use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.randn([]) * 0.3)
        self.bias = nn.Parameter(torch.randn(out_channels) * 0.2)


class ToRGBLayer(Persistent):
    def __init__(self, in_channels, out_channels, w_dim, conv_clamp):
        super().__init__(conv_clamp=conv_clamp)
        self.conv_clamp, self.weight_gain = conv_clamp, 1 / in_channels**0.5
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.randn(out_channels) * 0.1)


class SynthesisBlock(Persistent):
    def __init__(self, inputs, outputs, w_dim, resolution, img_channels, architecture, conv_clamp, use_noise, fp16):
        super().__init__(architecture=architecture, conv_clamp=conv_clamp, use_fp16=fp16)
        self.in_channels, self.w_dim, self.resolution = inputs, w_dim, resolution
        self.img_channels, self.architecture, self.use_fp16 = img_channels, architecture, fp16
        self.register_buffer("resample_filter", resample_filter())
        if inputs == 0:
            self.const = nn.Parameter(torch.randn(outputs, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(inputs, outputs, w_dim, resolution, 2, use_noise, conv_clamp, fp16)
        self.conv1 = SynthesisLayer(outputs, outputs, w_dim, resolution, 1, use_noise, conv_clamp, fp16)
        self.torgb = ToRGBLayer(outputs, img_channels, w_dim, conv_clamp)


class SynthesisNetwork(Persistent):
    def __init__(
        self, w_dim, img_resolution, img_channels=3, channel_base=32768, channel_max=512, num_fp16_res=0,
        architecture="skip", conv_clamp=None, use_noise=True, **others,
    ):  # fmt: skip
        super().__init__(
            w_dim=w_dim, img_resolution=img_resolution, img_channels=img_channels, channel_base=channel_base,
            channel_max=channel_max, num_fp16_res=num_fp16_res, conv_clamp=conv_clamp, use_noise=use_noise, **others,
        )  # fmt: skip
        self.w_dim, self.img_resolution, self.num_ws = w_dim, img_resolution, 0
        inputs, resolution = 0, 4
        while resolution <= img_resolution:
            outputs = min(channel_base // resolution, channel_max)
            fp16 = resolution > 4 and resolution * 2**num_fp16_res > img_resolution
            block = SynthesisBlock(
                inputs, outputs, w_dim, resolution, img_channels, architecture, conv_clamp, use_noise, fp16
            )
            self.add_module(f"b{resolution}", block)
            inputs, resolution = outputs, resolution * 2


class Generator(Persistent):
    """NVIDIA's argument names. flat: as in its stylegan3 repository, where synthesis arguments are the generator's."""

    def __init__(
        self,
        z_dim,
        c_dim,
        w_dim,
        img_resolution,
        img_channels=3,
        mapping_kwargs=None,
        synthesis_kwargs=None,
        flat=False,
    ):
        mapping_kwargs, synthesis_kwargs = mapping_kwargs or {}, synthesis_kwargs or {}
        given = synthesis_kwargs if flat else {"synthesis_kwargs": EasyDict(synthesis_kwargs)}
        super().__init__(
            z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, img_resolution=img_resolution, img_channels=img_channels,
            mapping_kwargs=EasyDict(mapping_kwargs), **given,
        )  # fmt: skip
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, w_dim
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.synthesis = SynthesisNetwork(w_dim, img_resolution, img_channels, **synthesis_kwargs)
        self.num_ws = 2 * img_resolution.bit_length() - 4
        self.mapping = MappingNetwork(z_dim, c_dim, w_dim, self.num_ws, **mapping_kwargs)


class Discriminator(Persistent):
    """Stands for all that a snapshot holds beside generators, with the odd things that are found there."""

    def __init__(self, numbers=1000):
        super().__init__(epilogue_kwargs=EasyDict(mbstd_group_size=4))
        import numpy as np

        self.weights = nn.ParameterList(torch.randn(min(numbers, 2**22)) for _ in range(1 + numbers // 2**22))
        self.register_buffer("Hz_fbank", torch.as_tensor(np.ones((4, 4), np.float32)))
        self.limit, self.kinds, self.device = np.float64(0.5), {1, 2}, torch.device("cpu")
        self.numbers, self.dtype = np.arange(6).reshape(2, 3), torch.float32
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.LeakyReLU()])
        self.count = torch.zeros([], dtype=torch.int64)


def write_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    """Pickle with the names that NVIDIA's code has."""
    before = {name: sys.modules.get(name) for name in installed_modules()}
    sys.modules.update(installed_modules())
    try:
        path.write_bytes(pickle.dumps(content, protocol))
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return path


def snapshot(generator: Generator, discriminator_numbers: int = 1000) -> dict[str, Any]:
    """All that a training run of NVIDIA's pickles at once."""
    parts = {"G": generator, "D": Discriminator(discriminator_numbers), "G_ema": generator, "augment_pipe": None}
    return {**parts, "training_set_kwargs": EasyDict(class_name="x", order=OrderedDict(a=1))}
