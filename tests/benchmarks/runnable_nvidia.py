"""The tests' NVIDIA layout with the tests' own arithmetic: a StyleGAN2 that runs, to stand in for NVIDIA's code."""

import copy
from typing import Any

import torch
from torch import Tensor

from tests.models.foreign import nvidia_files as files
from tests.models.reference_stylegan2 import (
    dense,
    modulated,
    second_moment_normalised,
    smooth,
    styled,
    with_zeros,
)

Generator = files.Generator
files.installed_modules()  # gives what is pickled the names of NVIDIA's modules


class Discriminator(files.Discriminator):
    def __init__(self, **_: Any) -> None:
        super().__init__()


class AugmentPipe(files.Persistent):
    pass


def map_latents(self: files.MappingNetwork, z: Tensor, c: Tensor | None, truncation: float) -> Tensor:
    w = second_moment_normalised(z)
    if c is not None:
        w = torch.cat([w, second_moment_normalised(dense(c, self.embed.weight, self.embed.bias))], 1)
    for index in range(self.num_layers):
        layer = getattr(self, f"fc{index}")
        w = dense(w, layer.weight, layer.bias, layer.bias_gain, leaky=True)
    w = self.w_avg + truncation * (w - self.w_avg)
    return w[:, None].repeat(1, self.num_ws, 1)


def style(self: files.SynthesisLayer, x: Tensor, w: Tensor) -> Tensor:
    styles = dense(w, self.affine.weight, self.affine.bias)
    noise = self.noise_const * self.noise_strength if self.use_noise else 0.0
    return styled(modulated(x, self.weight, styles, True, up=self.up == 2), noise, self.bias, self.conv_clamp)


def color(self: files.ToRGBLayer, x: Tensor, w: Tensor) -> Tensor:
    styles = dense(w, self.affine.weight, self.affine.bias) * self.weight_gain
    colors = modulated(x, self.weight, styles, False, up=False) + self.bias[:, None, None]
    return colors if self.conv_clamp is None else colors.clamp(-self.conv_clamp, self.conv_clamp)


def generate(
    self: Generator, z: Tensor, c: Tensor | None, truncation_psi: float, noise_mode: str, force_fp32: bool
) -> Tensor:
    assert (noise_mode, force_fp32) == ("const", True)
    ws, used, x, image = self.mapping(z, c, truncation_psi), 0, None, None
    for block in self.synthesis.children():
        if block.resolution == 4:
            x = block.const[None].repeat(len(z), 1, 1, 1)
        for layer in (part for name, part in block.named_children() if name.startswith("conv")):
            x, used = layer(x, ws[:, used]), used + 1
        colors = block.torgb(x, ws[:, used])
        image = colors if image is None else smooth(with_zeros(image), 2, 1) + colors
    return image


def copied(self: files.Persistent, memo: dict[int, Any]) -> files.Persistent:
    twin = type(self).__new__(type(self))
    twin.__dict__ = copy.deepcopy(self.__dict__, memo)
    return twin


files.MappingNetwork.forward, files.SynthesisLayer.forward, files.ToRGBLayer.forward = map_latents, style, color
files.Generator.forward, files.Persistent.__deepcopy__ = generate, copied
