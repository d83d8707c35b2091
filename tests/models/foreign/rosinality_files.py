"""State dicts in rosinality's layout, with random weights."""

import torch
from torch import Tensor


def rosinality_state(
    widths: list[int], w_dim: int = 16, mapping_layers: int = 2, rate: float = 0.01
) -> dict[str, Tensor]:
    """Tensors by rosinality's names. widths: channels from 4×4 up."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 16
    state = {"input.input": torch.randn(1, widths[0], 4, 4)}
    for i in range(1, mapping_layers + 1):
        state[f"style.{i}.weight"] = torch.randn(w_dim, w_dim) / rate
        state[f"style.{i}.bias"] = torch.randn(w_dim) * 0.1 / rate

    def convolution(name: str, inputs: int, outputs: int, size: int) -> None:
        state[f"{name}.weight"] = torch.randn(1, outputs, inputs, size, size)
        state[f"{name}.modulation.weight"] = torch.randn(inputs, w_dim)
        state[f"{name}.modulation.bias"] = 1 + 0.1 * torch.randn(inputs)

    def block(name: str, index: int, inputs: int, outputs: int, resolution: int) -> None:
        convolution(f"{name}.conv", inputs, outputs, 3)
        state[f"{name}.noise.weight"] = 0.3 * torch.randn(1)
        state[f"{name}.activate.bias"] = 0.2 * torch.randn(outputs)
        state[f"noises.noise_{index}"] = torch.randn(1, 1, resolution, resolution)

    block("conv1", 0, widths[0], widths[0], 4)
    convolution("to_rgb1.conv", widths[0], 3, 1)
    state["to_rgb1.bias"] = 0.1 * torch.randn(1, 3, 1, 1)
    for level in range(len(widths) - 1):
        resolution = 8 << level
        block(f"convs.{2 * level}", 2 * level + 1, widths[level], widths[level + 1], resolution)
        state[f"convs.{2 * level}.conv.blur.kernel"] = kernel.clone()
        block(f"convs.{2 * level + 1}", 2 * level + 2, widths[level + 1], widths[level + 1], resolution)
        convolution(f"to_rgbs.{level}.conv", widths[level + 1], 3, 1)
        state[f"to_rgbs.{level}.bias"] = 0.1 * torch.randn(1, 3, 1, 1)
        state[f"to_rgbs.{level}.upsample.kernel"] = kernel.clone()
    return state
