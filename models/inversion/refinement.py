"""Refining codes in W+ by gradient, all seeds in one batch.

Each seed has losses, steps and a best code of its own: the batch is only for speed. The generator is never touched.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from models.bundle import GeneratorBundle
from models.device import training_precision
from models.inversion.perceptual import PerceptualDistance

BATCH_PIXELS = 2**20
"""Of the images that are refined at once, whatever the settings say: what autograd keeps of them must fit in memory."""


@dataclass(frozen=True)
class RefinementSettings:
    """steps: at most so many. time_limit_s: and at most so much wall time, of which every image gets its share; where
    it does not last for all steps, the learning rate falls with the time instead. learning_rate: Adam's peak, reached
    after a tenth of the steps, then falling along a cosine. lpips_weight, pixel_weight: of the reconstruction.
    random_lpips_weight: takes the place of lpips_weight where LPIPS compares features of a random network, which costs
    time and drives codes away from random samples. prior_weight: of P-norm+. encoder_weight: pull to the encoder's
    code, layer_weight: between the layers of a code; both in standard deviations of w. batch: seeds at once."""

    steps: int = 300
    time_limit_s: float = 1_800.0
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
    """codes: (N, num_ws, w_dim) float32. reconstructions: (N, 3, R, R) float32, clamped to [-1, 1]. misfit:
    (N, R, R) float32, see `misfit`. lpips, psnr_db, p_norm: (N,) float32, see `LatentStatistics.p_norm`.
    steps: the fewest that any image was refined for, 0 for codes that were not."""

    codes: Tensor
    reconstructions: Tensor
    misfit: Tensor
    lpips: Tensor
    psnr_db: Tensor
    p_norm: Tensor
    steps: int = 0

    def rows(self, chosen: slice) -> "Inversions":
        """Those of these images."""
        columns = [field.name for field in fields(self) if field.name != "steps"]
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})


def psnr_db(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB of images (B, 3, R, R) whose values span [-1, 1]."""
    return 10 * torch.log10(4 / (a - b).square().mean(dim=(1, 2, 3)).clamp(min=1e-10))


def misfit(a: Tensor, b: Tensor) -> Tensor:
    """How far images (B, 3, R, R) are apart around each pixel: (B, R, R), the root of the mean squared difference over
    its three by three neighbours and colours."""
    squares = (a - b).square().mean(dim=1, keepdim=True)
    return F.avg_pool2d(squares, 3, stride=1, padding=1, count_include_pad=False)[:, 0].sqrt()


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
    seconds: float,
    progress: Callable[[int], None],
) -> tuple[Tensor, int]:
    """Best codes (B, num_ws, w_dim) for targets (B, 3, R, R), and how many steps were taken in at most `seconds`."""
    started = time.monotonic()
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
    step = 0
    while True:
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
        # Where time runs out before the steps do, it tells how far along the schedule this step is.
        reached = max(step, int(settings.steps * min(1.0, (time.monotonic() - started) / seconds)))
        if reached >= settings.steps:
            return best.detach().clone(), step
        adam.param_groups[0]["lr"] = settings.learning_rate * rate(reached, settings.steps)
        (offsets.grad,) = torch.autograd.grad(loss.sum(), offsets)
        adam.step()
        step += 1


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
    size = max(1, min(settings.batch, BATCH_PIXELS // images.shape[-1] ** 2))
    total, done = len(images) * settings.steps, 0
    ends = time.monotonic() + settings.time_limit_s
    codes: list[Tensor] = []
    taken: list[int] = []
    for targets in images.split(size):
        left = len(images) - sum(len(part) for part in codes)
        seconds = max(1e-3, (ends - time.monotonic()) * len(targets) / left)

        def report(step: int, before: int = done, size: int = len(targets)) -> None:
            progress(before + step * size, total)

        found, steps = _refine_batch(bundle, perceptual, targets, settings, seconds, report)
        codes.append(found)
        taken.append(steps)
        done += len(targets) * settings.steps
    progress(total, total)
    inversions = measure(bundle, perceptual, images, torch.cat(codes), lambda: progress(total, total))
    return replace(inversions, steps=min(taken))


@torch.no_grad()
def measure(
    bundle: GeneratorBundle,
    perceptual: PerceptualDistance,
    images: Tensor,
    codes: Tensor,
    watch: Callable[[], None] = lambda: None,
) -> Inversions:
    """Reconstruct codes in float32 and compare them with their images; `watch`, called now and then, may raise."""
    parts, size = [], bundle.generator.at_once(16)
    for target, code in zip(images.split(size), codes.split(size), strict=True):
        again = bundle.generator.synthesis(code)[0].clamp_(-1, 1)
        p_norm = bundle.latents.p_norm(code).mean(dim=1)
        parts.append((again, misfit(again, target), perceptual(again, target), psnr_db(again, target), p_norm))
        watch()
    again, apart, distance, psnr, p_norm = (torch.cat(column) for column in zip(*parts, strict=True))
    return Inversions(codes, again, apart, distance, psnr, p_norm)
