"""A StyleGAN2 with rosinality's names and the tests' own arithmetic, to stand in for its author's code."""

import torch
from torch import Tensor, nn

from tests.models.reference_stylegan2 import dense, modulated, second_moment_normalised, smooth, styled, with_zeros


class Linear(nn.Module):
    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, lr_mul: float = 1.0) -> None:
        super().__init__()
        self.lr_mul = lr_mul
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_mul)
        self.bias = nn.Parameter(torch.full([outputs], bias))

    def forward(self, x: Tensor) -> Tensor:
        return dense(x, self.weight, self.bias, self.lr_mul, leaky=self.lr_mul != 1)


class Normalisation(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return second_moment_normalised(x)


class Kernel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", torch.outer(taps, taps) / 16)


class Convolution(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, width: int, up: bool = False) -> None:
        super().__init__()
        self.up, self.gain = up, (inputs * size**2) ** -0.5
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, size, size))
        self.modulation = Linear(width, inputs, bias=1.0)
        if up:
            self.blur = Kernel()

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        weight = self.weight[0] * self.gain
        return modulated(x, weight, self.modulation(w), demodulate=weight.shape[-1] == 3, up=self.up)


class Holder(nn.Module):
    """One parameter under a name."""

    def __init__(self, name: str, value: Tensor) -> None:
        super().__init__()
        self.register_parameter(name, nn.Parameter(value))


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, width: int, up: bool = False) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs, 3, width, up)
        self.noise = Holder("weight", torch.zeros(1))
        self.activate = Holder("bias", torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        return styled(self.conv(x, w), noise * self.noise.weight, self.activate.bias, None)


class Colors(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv = Convolution(inputs, 3, 1, width)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, w: Tensor, coarser: Tensor | float = 0.0) -> Tensor:
        return self.conv(x, w) + self.bias + coarser


class Generator(nn.Module):
    def __init__(self, size: int, width: int, depth: int, channel_multiplier: int) -> None:
        super().__init__()
        widths = [8, *(8 * channel_multiplier for _ in range(size.bit_length() - 3))]
        self.style = nn.Sequential(Normalisation(), *(Linear(width, width, lr_mul=0.01) for _ in range(depth)))
        self.input = Holder("input", torch.randn(1, 8, 4, 4))
        self.conv1, self.to_rgb1 = Block(8, 8, width), Colors(8, width)
        self.convs, self.to_rgbs, self.noises = nn.ModuleList(), nn.ModuleList(), nn.Module()
        self.noises.register_buffer("noise_0", torch.randn(1, 1, 4, 4))
        for level in range(1, len(widths)):
            self.convs.append(Block(widths[level - 1], widths[level], width, up=True))
            self.convs.append(Block(widths[level], widths[level], width))
            self.to_rgbs.append(Colors(widths[level], width))
            for index in (2 * level - 1, 2 * level):
                self.noises.register_buffer(f"noise_{index}", torch.randn(1, 1, 4 << level, 4 << level))

    def forward(
        self,
        styles: list[Tensor],
        return_latents: bool,
        truncation: float,
        truncation_latent: Tensor,
        randomize_noise: bool,
    ) -> tuple[Tensor, Tensor]:
        assert return_latents and not randomize_noise
        w = truncation_latent + truncation * (self.style(styles[0]) - truncation_latent)
        noises = list(self.noises.buffers())
        x = self.conv1(self.input.input.repeat(len(w), 1, 1, 1), w, noises[0])
        image = self.to_rgb1(x, w)
        for level, to_rgb in enumerate(self.to_rgbs):
            for index in (2 * level, 2 * level + 1):
                x = self.convs[index](x, w, noises[index + 1])
            image = to_rgb(x, w, smooth(with_zeros(image), 2, 1))
        return image, w[:, None].repeat(1, 2 * len(self.to_rgbs) + 2, 1)


class Discriminator(nn.Module):
    def __init__(self, _size: int, _channel_multiplier: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(nn.Linear(2, 2))
