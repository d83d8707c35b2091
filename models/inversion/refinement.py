"""Refining codes in W+ by gradient, all seeds in one batch.

Each seed has losses, steps and a best code of its own: the batch is only for speed. The generator is never touched.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.device import training_precision
from models.inversion.perceptual import PerceptualDistance


@dataclass(frozen=True)
class RefinementSettings:
    """steps: at most so many. time_limit_s: and at most so much wall time. learning_rate: Adam's peak, reached after a
    tenth of the steps, then falling along a cosine. lpips_weight, pixel_weight: of the reconstruction.
    random_lpips_weight: takes the place of lpips_weight where LPIPS compares features of a random network, which costs
    time and drives codes away from random samples. prior_weight: of P-norm+. encoder_weight: pull to the encoder's
    code, layer_weight: between the layers of a code; both in standard deviations of w. batch: seeds at once."""

    steps: int = 300
    time_limit_s: float = 600.0
    learning_rate: float = 0.12
    lpips_weight: float = 10.0
    random_lpips_weight: float = 0.0
    pixel_weight: float = 4.0
    prior_weight: float = 5e-3
    encoder_weight: float = 2e-4
    layer_weight: float = 2e-4
    batch: int = 64

    def perceptual_weight(self, perceptual: PerceptualDistance) -> float:
        """The weight of this distance: `lpips_weight`, or `random_lpips_weight` where its features are random."""
        return self.lpips_weight if perceptual.source == "pretrained" else self.random_lpips_weight


@dataclass(frozen=True)
class Inversions:
    """codes: (N, num_ws, w_dim) float32. reconstructions: (N, 3, R, R) float32, clamped to [-1, 1]. lpips, psnr_db,
    p_norm: (N,) float32; p_norm is 1.0 on average for random samples."""

    codes: Tensor
    reconstructions: Tensor
    lpips: Tensor
    psnr_db: Tensor
    p_norm: Tensor

    def rows(self, chosen: slice) -> "Inversions":
        """Those of these images."""
        return Inversions(*(column[chosen] for column in vars(self).values()))


def psnr_db(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB of images (B, 3, R, R) whose values span [-1, 1]."""
    return 10 * torch.log10(4 / (a - b).square().mean(dim=(1, 2, 3)).clamp(min=1e-10))


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up over a tenth, then a cosine to zero."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _refine_batch(
    bundle: GeneratorBundle,
    perceptual: PerceptualDistance,
    targets: Tensor,
    settings: RefinementSettings,
    deadline: float,
    progress: Callable[[int], None],
) -> Tensor:
    """Best codes (B, num_ws, w_dim) for targets (B, 3, R, R)."""
    precision = training_precision(bundle.device)
    latents = bundle.latents
    lpips_weight = settings.perceptual_weight(perceptual)
    with torch.no_grad():
        if bundle.encoder is None:
            start = latents.w_avg.expand(len(targets), bundle.num_ws, -1).clone()
        else:
            start = bundle.encoder(targets)
    offsets = torch.zeros_like(start, requires_grad=True)
    adam = torch.optim.Adam([offsets], lr=settings.learning_rate, betas=(0.9, 0.95))
    best, best_loss = start.clone(), torch.full((len(targets),), torch.inf, device=start.device)
    for step in range(settings.steps + 1):
        codes = start + latents.w_std * offsets
        images, _ = bundle.generator.synthesis(codes, precision)
        fit = settings.pixel_weight * (images - targets).square().mean(dim=(1, 2, 3))
        if lpips_weight:
            fit = fit + lpips_weight * perceptual(images, targets)
        away = settings.prior_weight * latents.p_norm(codes).mean(dim=1)
        away = away + settings.encoder_weight * offsets.square().mean(dim=(1, 2))
        spread = (codes - codes.mean(dim=1, keepdim=True)) / latents.w_std
        away = away + settings.layer_weight * spread.square().mean(dim=(1, 2))
        loss = fit + away
        with torch.no_grad():
            better = loss < best_loss
            best_loss = torch.where(better, loss, best_loss)
            best = torch.where(better[:, None, None], codes, best)
        progress(step)
        if step == settings.steps or time.monotonic() > deadline:
            break
        adam.param_groups[0]["lr"] = settings.learning_rate * rate(step, settings.steps)
        (offsets.grad,) = torch.autograd.grad(loss.sum(), offsets)
        adam.step()
    return best.detach().clone()


def invert(
    bundle: GeneratorBundle,
    perceptual: PerceptualDistance,
    images: Tensor,
    settings: RefinementSettings,
    progress: Callable[[int, int], None],
) -> Inversions:
    """Find the codes of images: the encoder's answer, then refinement; from the mean w where there is no encoder.

    Args:
        images: float32 (N, 3, R, R) in [-1, 1] at the generator's resolution.
        progress: called with steps × seeds done and in all; raising from it stops the work.
    """
    deadline = time.monotonic() + settings.time_limit_s
    total, done = len(images) * settings.steps, 0
    codes = []
    for targets in images.split(settings.batch):

        def report(step: int, before: int = done, size: int = len(targets)) -> None:
            progress(before + step * size, total)

        codes.append(_refine_batch(bundle, perceptual, targets, settings, deadline, report))
        done += len(targets) * settings.steps
    progress(total, total)
    return measure(bundle, perceptual, images, torch.cat(codes))


@torch.no_grad()
def measure(bundle: GeneratorBundle, perceptual: PerceptualDistance, images: Tensor, codes: Tensor) -> Inversions:
    """Reconstruct codes in float32 and compare them with their images."""
    parts = []
    for target, code in zip(images.split(16), codes.split(16), strict=True):
        again = bundle.generator.synthesis(code)[0].clamp_(-1, 1)
        parts.append(
            (again, perceptual(again, target), psnr_db(again, target), bundle.latents.p_norm(code).mean(dim=1))
        )
    again, distance, psnr, p_norm = (torch.cat(column) for column in zip(*parts, strict=True))
    return Inversions(codes, again, distance, psnr, p_norm)
