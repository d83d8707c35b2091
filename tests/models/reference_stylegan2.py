"""StyleGAN2 to the letter of the paper, in float64, straight from the tensors of a published layout.

Nothing is shared with `models.generator` and no step is rearranged: every sample gets its own modulated and demodulated
weights (Karras et al. 2020, equations 1 to 3), upsampling inserts zeros, and the resample filter is summed tap by tap.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = (0.25, 0.75, 0.75, 0.25)
"""[1, 3, 3, 1] at unit gain for twice as many pixels a side, where half of them are inserted zeros."""


@dataclass
class Reference:
    """images: (B, 3, R, R). features: the output of every style block from coarse to fine. w: (B, w_dim), truncated."""

    images: Tensor
    features: list[Tensor]
    w: Tensor


def second_moment_normalised(x: Tensor) -> Tensor:
    return x / (x.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()


def dense(x: Tensor, weight: Tensor, bias: Tensor, rate: float = 1.0, leaky: bool = False) -> Tensor:
    y = x @ (weight * rate / weight.shape[1] ** 0.5).T + bias * rate
    return torch.where(y > 0, y, 0.2 * y) * 2**0.5 if leaky else y


def smooth(x: Tensor, before: int, after: int) -> Tensor:
    """The resample filter along both axes, with that many zeros around."""
    x = F.pad(x, [before, after, before, after])
    height, width = x.shape[2] - 3, x.shape[3] - 3
    rows = sum(tap * x[:, :, i : i + height] for i, tap in enumerate(TAPS))
    return sum(tap * rows[:, :, :, i : i + width] for i, tap in enumerate(TAPS))


def with_zeros(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, C, 2H, 2W), a zero after every pixel and row."""
    sparse = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    sparse[:, :, ::2, ::2] = x
    return sparse


def correlate(x: Tensor, weights: Tensor, padding: int) -> Tensor:
    """Every sample (B, I, H, W) with its own weights (B, O, I, k, k), a tap at a time."""
    size = weights.shape[-1]
    x = F.pad(x, [padding] * 4)
    height, width = x.shape[2] - size + 1, x.shape[3] - size + 1
    return sum(
        torch.einsum("boi,bihw->bohw", weights[..., dy, dx], x[:, :, dy : dy + height, dx : dx + width])
        for dy in range(size)
        for dx in range(size)
    )


def modulated(x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool, up: bool) -> Tensor:
    weights = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        weights = weights / (weights.pow(2).sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    if not up:
        return correlate(x, weights, weight.shape[-1] // 2)
    # Each input pixel spreads its value through the kernel: a correlation of the sparse image with the turned kernel.
    spread = correlate(with_zeros(x)[:, :, :-1, :-1], weights.flip(3, 4), 2)
    return smooth(spread, 1, 1)


def styled(x: Tensor, noise: Tensor | float, bias: Tensor, clamp: float | None) -> Tensor:
    x = x + noise + bias.reshape(1, -1, 1, 1)
    x = torch.where(x > 0, x, 0.2 * x) * 2**0.5
    return x if clamp is None else x.clamp(-clamp, clamp)


@torch.no_grad()
def nvidia_reference(
    state: dict[str, Tensor],
    z: Tensor,
    truncation: float = 1.0,
    c: Tensor | None = None,
    clamp: float | None = None,
    rate: float = 0.01,
) -> Reference:
    """What a generator with NVIDIA's names makes of z (B, z_dim) and one-hot classes c."""
    state = {name: t.double() for name, t in state.items()}
    w = second_moment_normalised(z.double())
    if c is not None:
        embedded = dense(c.double(), state["mapping.embed.weight"], state["mapping.embed.bias"])
        w = torch.cat([w, second_moment_normalised(embedded)], 1)
    depth = sum(name.startswith("mapping.fc") and name.endswith("weight") for name in state)
    for i in range(depth):
        w = dense(w, state[f"mapping.fc{i}.weight"], state[f"mapping.fc{i}.bias"], rate, leaky=True)
    w = state["mapping.w_avg"] + truncation * (w - state["mapping.w_avg"])

    x = state["synthesis.b4.const"][None].repeat(len(z), 1, 1, 1)
    image, features, resolution = None, [], 4
    while f"synthesis.b{resolution}.torgb.weight" in state:
        for conv in ("conv0", "conv1"):
            layer = f"synthesis.b{resolution}.{conv}."
            if layer + "weight" not in state:
                continue
            styles = dense(w, state[layer + "affine.weight"], state[layer + "affine.bias"])
            x = modulated(x, state[layer + "weight"], styles, True, up=conv == "conv0")
            noise = (
                state[layer + "noise_const"] * state[layer + "noise_strength"] if layer + "noise_const" in state else 0
            )
            x = styled(x, noise, state[layer + "bias"], clamp)
            features.append(x)
        layer = f"synthesis.b{resolution}.torgb."
        weight = state[layer + "weight"]
        styles = dense(w, state[layer + "affine.weight"], state[layer + "affine.bias"]) / weight.shape[1] ** 0.5
        color = modulated(x, weight, styles, False, up=False) + state[layer + "bias"].reshape(1, -1, 1, 1)
        color = color if clamp is None else color.clamp(-clamp, clamp)
        image = color if image is None else smooth(with_zeros(image), 2, 1) + color
        resolution *= 2
    return Reference(image, features, w)


@torch.no_grad()
def rosinality_reference(
    state: dict[str, Tensor], mean: Tensor, z: Tensor, truncation: float = 1.0, rate: float = 0.01
) -> Reference:
    """What a generator with rosinality's names makes of z (B, z_dim), with its stored noise."""
    state = {name: t.double() for name, t in state.items()}
    w, layer = second_moment_normalised(z.double()), 1
    while f"style.{layer}.weight" in state:
        w = dense(w, state[f"style.{layer}.weight"], state[f"style.{layer}.bias"], rate, leaky=True)
        layer += 1
    w = mean.double() + truncation * (w - mean.double())

    def convolve(x: Tensor, name: str, demodulate: bool = True, up: bool = False) -> Tensor:
        weight = state[f"{name}.weight"][0]
        weight = weight / (weight.shape[1] * weight.shape[2] * weight.shape[3]) ** 0.5
        styles = dense(w, state[f"{name}.modulation.weight"], state[f"{name}.modulation.bias"])
        return modulated(x, weight, styles, demodulate, up)

    def block(x: Tensor, name: str, index: int, up: bool) -> Tensor:
        noise = state[f"noises.noise_{index}"] * state[f"{name}.noise.weight"]
        return styled(convolve(x, f"{name}.conv", up=up), noise, state[f"{name}.activate.bias"], None)

    features = [block(state["input.input"].repeat(len(z), 1, 1, 1), "conv1", 0, up=False)]
    image = convolve(features[0], "to_rgb1.conv", demodulate=False) + state["to_rgb1.bias"]
    level = 0
    while f"to_rgbs.{level}.bias" in state:
        features.append(block(features[-1], f"convs.{2 * level}", 2 * level + 1, up=True))
        features.append(block(features[-1], f"convs.{2 * level + 1}", 2 * level + 2, up=False))
        color = convolve(features[-1], f"to_rgbs.{level}.conv", demodulate=False) + state[f"to_rgbs.{level}.bias"]
        image = smooth(with_zeros(image), 2, 1) + color
        level += 1
    return Reference(image, features, w)
