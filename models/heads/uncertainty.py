"""How uncertain a sample is: one number for each label kind, and one for all of them.

The kinds' numbers have different units (nats, pixels, the unit of depth), so each is standardised by its median and its
spread over random samples before they are averaged. A kind that stands alone is left as it is.
"""

import numpy as np
import torch
from torch import Tensor

from models.labels import LabelLayout

WORST_SHARE = 10
"""What an image's map of uncertainties comes to is the mean over its most uncertain 1 / WORST_SHARE of pixels."""

SEGMENTATION, KEYPOINTS, DEPTH, CLASS = "segmentation", "keypoints", "depth", "class"

SMALLEST_SPREAD = 1e-6
"""In nats, pixels, or standard deviations of the seeds' depth."""


def kinds_of(layout: LabelLayout) -> tuple[str, ...]:
    """The label kinds there are, always in one order."""
    there = {
        SEGMENTATION: layout.classes > 0,
        KEYPOINTS: layout.points > 0,
        DEPTH: layout.depth is not None,
        CLASS: bool(layout.attributes),
    }
    return tuple(kind for kind, given in there.items() if given)


def mean_of_worst(values: Tensor) -> Tensor:
    """The mean of the largest tenth of each image's values: (B, H, W) → (B,)."""
    flat = values.flatten(1)
    count = max(1, flat.shape[1] // WORST_SHARE)
    if flat.device.type == "cpu":  # a tenth of the time of `topk`
        worst = np.partition(flat.detach().numpy(), -count)[:, -count:]
        return torch.from_numpy(worst.mean(axis=1, dtype=np.float64)).to(flat)
    return flat.topk(count, dim=1).values.mean(dim=1)


def median_and_spread(values: Tensor, unit: float = 1.0) -> tuple[float, float]:
    """The median of (N,) values and their mean distance from it, in which a long tail counts less than in a standard
    deviation; at least `SMALLEST_SPREAD` of `unit`."""
    wide = values.double()
    median = wide.quantile(0.5)
    return float(median), max(float((wide - median).abs().mean()), SMALLEST_SPREAD * unit)


def combine(kinds: dict[str, Tensor], median: Tensor, spread: Tensor) -> Tensor:
    """One uncertainty (B,) for all kinds: the only kind's own, or the mean of the standardised ones.

    The mean and not the maximum: a sample is worth discarding when its labels are wrong on the whole, and the maximum
    of several noisy numbers follows whichever is noisiest.

    Args:
        kinds: uncertainty (B,) of each kind, in the order of `kinds_of`.
        median, spread: (number of kinds,), over random samples.
    """
    values = torch.stack(list(kinds.values()), dim=1)
    if values.shape[1] == 1:
        return values[:, 0]
    return ((values - median.to(values)) / spread.to(values)).mean(dim=1)
