"""Resampling images on a grid, differentiable twice: the gradient penalty needs the gradient of a gradient."""

from typing import Any

import torch
from torch import Tensor

_BICUBIC, _REFLECTION = 2, 1


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    sampled: Tensor = torch.ops.aten.grid_sampler_2d(images, grid, _BICUBIC, _REFLECTION, False)
    return sampled


def _scatter(gradient: Tensor, like: Tensor, grid: Tensor) -> Tensor:
    """The transpose of `_sample`, which is linear in its images."""
    mask = [True, False]
    result: tuple[Tensor, Tensor] = torch.ops.aten.grid_sampler_2d_backward(
        gradient.contiguous(), like, grid, _BICUBIC, _REFLECTION, False, mask
    )
    return result[0]


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor, grid: Tensor) -> Tensor:
        context.save_for_backward(images.detach(), grid)
        return _sample(images, grid)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        like, grid = context.saved_tensors
        spread: Tensor = _Scatter.apply(gradient, like, grid)
        return spread, None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, gradient: Tensor, like: Tensor, grid: Tensor) -> Tensor:
        context.save_for_backward(like, grid)
        return _scatter(gradient, like, grid)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        _, grid = context.saved_tensors
        sampled: Tensor = _Sample.apply(gradient, grid)
        return sampled, None, None


def resample(images: Tensor, grid: Tensor) -> Tensor:
    """Bicubic samples of images (B, C, H, W) at `grid` (B, H', W', 2), beyond the edges mirrored: (B, C, H', W').

    `grid` is as in `torch.nn.functional.grid_sample` with `align_corners=False`; no gradient flows to it.
    """
    sampled: Tensor = _Sample.apply(images, grid)
    return sampled
