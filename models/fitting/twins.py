"""Seeds flipped left to right: as many more examples, where the generator makes mirrored images as well as others.

The fewer the seeds, the more it brings.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.fitting.seed_labels import StackedLabels
from models.inversion.refinement import Inversions
from models.labels import LabelMirror

TOLERANCE_DB = 1.0
"""Where seeds of the generator's domain are rebuilt worse than that on average when they are flipped, the domain has a
left and a right."""


@dataclass(frozen=True)
class Twins:
    """The flipped seeds of N seeds. codes: (N, num_ws, w_dim). misfit: (N, H, W), of their reconstructions. labels: of
    each. usable: bool (N,), which are learnt from. psnr_db, straight_psnr_db: means of the reconstructions of flipped
    seeds, and of the same seeds as they are."""

    codes: Tensor
    misfit: Tensor
    labels: StackedLabels
    usable: Tensor
    psnr_db: float
    straight_psnr_db: float

    def rows_with(self, rows: Tensor) -> Tensor:
        """`rows` (n,) of seeds, and behind them those of their usable twins, counted on from the last seed."""
        return torch.cat([rows, rows[self.usable[rows]] + len(self.usable)])


def twins_of(flipped: Inversions, straight: Inversions, labels: StackedLabels, least_psnr_db: float) -> Twins:
    """What can be learnt from flipped seeds.

    Args:
        flipped, straight: inversions of the flipped seeds and of the seeds.
        labels: of the flipped seeds.
        least_psnr_db: a twin that is rebuilt worse is not learnt from. A seed that is rebuilt worse either way says
            nothing about the domain, unless all are.
    """
    of_domain = torch.maximum(straight.psnr_db, flipped.psnr_db) >= least_psnr_db
    if not of_domain.any():
        of_domain[:] = True
    mean, straight_mean = float(flipped.psnr_db[of_domain].mean()), float(straight.psnr_db[of_domain].mean())
    usable = (flipped.psnr_db >= least_psnr_db).cpu() & (mean >= straight_mean - TOLERANCE_DB)
    return Twins(flipped.codes, flipped.misfit, labels, usable, mean, straight_mean)


def flipped_labels(labels: StackedLabels, mirror: LabelMirror, width: int) -> StackedLabels:
    """The labels of images of this width flipped left to right."""
    masks, points, depth, values = labels.masks, labels.keypoints, labels.depth, labels.attributes
    if points is not None:
        moved = points.copy()
        moved[..., 0] = np.where(points[..., 2] > 0, width - points[..., 0], points[..., 0])
        points = mirror.keypoints(moved)
    return StackedLabels(
        None if masks is None else mirror.masks(masks[..., ::-1]),
        points,
        None if depth is None else np.ascontiguousarray(depth[..., ::-1]),
        None if values is None else mirror.values(values),
    )
