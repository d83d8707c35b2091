"""Inverting as a lever says: by the product where it can, else by a copy of its refinement that can do more."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.inversion.levers import Lever, Start
from models.bundle import GeneratorBundle
from models.device import training_precision
from models.inversion.encoder import Encoder
from models.inversion.perceptual import PerceptualDistance
from models.inversion.refinement import Inversions, RefinementSettings, invert, measure, rate

ROUNDS = 5
"""Corrections of the encoder's answer."""


def inverted(bundle: GeneratorBundle, lever: Lever, images: Tensor) -> Inversions:
    """The inversions of images, float32 (N, 3, R, R) in [-1, 1], with their LPIPS as the lever's backbone measures it.
    The bundle needs an encoder."""
    perceptual = PerceptualDistance(lever.backbone).to(bundle.device)
    if lever.shipped:
        return invert(bundle, perceptual, images, lever.refinement, lambda *_: None)
    found = []
    for targets in images.split(lever.refinement.batch):
        if lever.starts > 1:
            starts = several_starts(bundle, targets, lever.starts)
        else:
            starts = starting_codes(bundle, perceptual, targets, lever.refinement, lever.start)[None]
        found.append(refine(bundle, perceptual, targets, lever.refinement, starts, lever.shared_share))
    return measure(bundle, perceptual, images, torch.cat(found))


def encoder_of(bundle: GeneratorBundle) -> Encoder:
    """Raises `ValueError` where there is none."""
    if bundle.encoder is None:
        raise ValueError("this generator has no encoder")
    return bundle.encoder


@torch.no_grad()
def several_starts(bundle: GeneratorBundle, targets: Tensor, count: int) -> Tensor:
    """Codes (count, B, num_ws, w_dim): the encoder's, the mean w, the encoder's for the flipped image, and the mean
    over layers of the encoder's, at most these four."""
    encoder = encoder_of(bundle)
    code = encoder(targets)
    mean = bundle.latents.w_avg.expand_as(code)
    flipped = encoder(targets.flip(-1))
    return torch.stack([code, mean, flipped, code.mean(dim=1, keepdim=True).expand_as(code)][:count])


@torch.no_grad()
def starting_codes(
    bundle: GeneratorBundle, perceptual: PerceptualDistance, targets: Tensor, settings: RefinementSettings, start: Start
) -> Tensor:
    """Codes (B, num_ws, w_dim): the encoder's answer, or the best of what it says when asked again `ROUNDS` times.

    `corrected-image` asks it about the target plus what the reconstructions so far lacked. `corrected-code` adds to the
    code how the encoder's answers to target and reconstruction differ. ReStyle trains an encoder to be shown its own
    reconstruction; this one never was.
    """
    encoder = encoder_of(bundle)
    first: Tensor = encoder(targets)
    codes = best = first
    if start == "encoder":
        return codes
    best_loss = torch.full((len(targets),), torch.inf, device=codes.device)
    asked = targets
    for asking in range(ROUNDS + 1):
        again, _ = bundle.generator.synthesis(codes)
        loss = losses(bundle, perceptual, targets, settings, codes, torch.zeros_like(codes), again)
        best = torch.where((loss < best_loss)[:, None, None], codes, best)
        best_loss = torch.minimum(loss, best_loss)
        if asking == ROUNDS:
            break
        if start == "corrected-image":
            asked = asked + targets - again.clamp(-1, 1)
            codes = encoder(asked)
        else:
            codes = codes + first - encoder(again.clamp(-1, 1))
    return best


def losses(
    bundle: GeneratorBundle,
    perceptual: PerceptualDistance,
    targets: Tensor,
    settings: RefinementSettings,
    codes: Tensor,
    offsets: Tensor,
    images: Tensor,
) -> Tensor:
    """What refinement minimises, (B,).

    Args:
        targets, images: (B, 3, R, R), and what `codes` (B, num_ws, w_dim) give.
        offsets: of the codes from where they began, in standard deviations of w.
    """
    latents = bundle.latents
    loss = settings.pixel_weight * (images - targets).square().mean(dim=(1, 2, 3))
    if lpips_weight := settings.perceptual_weight(perceptual):
        loss = loss + lpips_weight * perceptual(images, targets)
    loss = loss + settings.prior_weight * latents.p_norm(codes).mean(dim=1)
    loss = loss + settings.encoder_weight * offsets.square().mean(dim=(1, 2))
    spread = (codes - codes.mean(dim=1, keepdim=True)) / latents.w_std
    return loss + settings.layer_weight * spread.square().mean(dim=(1, 2))


def refine(
    bundle: GeneratorBundle,
    perceptual: PerceptualDistance,
    targets: Tensor,
    settings: RefinementSettings,
    starts: Tensor,
    shared_share: float = 0.0,
    watch: Callable[[int, Tensor], None] = lambda *_: None,
) -> Tensor:
    """Best codes (B, num_ws, w_dim) for targets (B, 3, R, R); no clock ends it.

    Args:
        starts: (k, B, num_ws, w_dim); of each target's, the one with the best code after a quarter of the steps goes
            on.
        shared_share: for this share of the steps, all layers of a code are one w, at first the mean of the start's.
        watch: called with the step and its codes, k·B at first.
    """
    precision = training_precision(bundle.device)
    chances, count = len(starts), len(targets)
    start, wanted = starts.flatten(0, 1), targets.repeat(chances, 1, 1, 1)
    shared = round(shared_share * settings.steps)
    if shared:
        start = start.mean(dim=1, keepdim=True).expand_as(start)
    offsets = torch.zeros_like(start, requires_grad=True, memory_format=torch.contiguous_format)
    adam = torch.optim.Adam([offsets], lr=settings.learning_rate, betas=(0.9, 0.95))
    best, best_loss = start.clone(), torch.full((len(start),), torch.inf, device=start.device)
    for step in range(settings.steps + 1):
        if chances > 1 and step == max(1, settings.steps // 4):
            ahead = best_loss.view(chances, count).argmin(dim=0) * count + torch.arange(count, device=start.device)
            start, wanted, best, best_loss = start[ahead], targets, best[ahead], best_loss[ahead]
            offsets, adam = _only(adam, offsets, ahead)
        codes = start + bundle.latents.w_std * offsets
        watch(step, codes.detach())
        images, _ = bundle.generator.synthesis(codes, precision)
        loss = losses(bundle, perceptual, wanted, settings, codes, offsets, images)
        with torch.no_grad():
            better = loss < best_loss
            best_loss = torch.where(better, loss, best_loss)
            best = torch.where(better[:, None, None], codes, best)
        if step == settings.steps:
            break
        adam.param_groups[0]["lr"] = settings.learning_rate * rate(step, settings.steps)
        (gradient,) = torch.autograd.grad(loss.sum(), offsets)
        # Equal gradients keep the offsets of the layers equal.
        offsets.grad = gradient.mean(dim=1, keepdim=True).expand_as(gradient).clone() if step < shared else gradient
        adam.step()
    return best.detach().clone()


def _only(adam: torch.optim.Adam, offsets: Tensor, rows: Tensor) -> tuple[Tensor, torch.optim.Adam]:
    """These rows of the offsets, and an optimizer that remembers what the other knew of them."""
    kept = offsets.detach()[rows].requires_grad_()
    successor = torch.optim.Adam([kept], lr=adam.param_groups[0]["lr"], betas=adam.param_groups[0]["betas"])
    successor.state[kept] = {name: v[rows] if v.ndim else v for name, v in adam.state[offsets].items()}
    return kept, successor
