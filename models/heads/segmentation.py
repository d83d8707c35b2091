"""The members' class logits → masks, and where the members disagree."""

import torch
from torch import Tensor

IGNORED = 255
"""The mask value of pixels whose class is not known."""


def jensen_shannon(log_p: Tensor, dim: int) -> Tensor:
    """Jensen-Shannon divergence (nats, 0 to log M) of the members' distributions.

    Args:
        log_p: (B, M, …) float32 log-probabilities, members along axis 1.
        dim: the axis of the values they are distributions over.

    Returns:
        (B, …) without these two axes.
    """
    p = log_p.exp()
    mean = p.mean(dim=1, keepdim=True)
    mixed = -(mean * mean.clamp(min=1e-30).log()).sum(dim=dim).squeeze(1)
    own = -(p * log_p).sum(dim=dim).mean(dim=1)
    return (mixed - own).clamp_(min=0)


def vote(log_p: Tensor, dim: int) -> Tensor:
    """The value of the largest mean probability: int64 (B, …), from what `jensen_shannon` takes."""
    index: Tensor = log_p.exp().mean(dim=1, keepdim=True).argmax(dim=dim).squeeze(1)
    return index


def ignore_most_uncertain(masks: Tensor, uncertainty: Tensor, fraction: float) -> Tensor:
    """Masks whose most uncertain pixels are 255.

    Args:
        masks: uint8 (B, H, W).
        uncertainty: (B, H, W), as `jensen_shannon` gives it.
        fraction: share of each image's pixels in [0, 1], rounded to whole pixels; of equal ones the first go.
    """
    flat = masks.flatten(1).clone()
    count = round(fraction * flat.shape[1])
    worst = uncertainty.flatten(1).sort(dim=1, descending=True, stable=True).indices[:, :count]
    return flat.scatter_(1, worst, torch.full_like(worst, IGNORED, dtype=masks.dtype)).view_as(masks)
