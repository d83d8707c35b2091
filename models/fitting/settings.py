"""How seeds become a labeler."""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.inversion.perceptual import Backbone, find_backbone_weights
from models.inversion.refinement import RefinementSettings


@dataclass(frozen=True)
class FitSettings:
    """members, hidden, shared: the ensemble, see `LabelerArchitecture`. steps: of its training where there is one
    round; first_steps, second_steps: where there are two, though with few seeds the first has `steps`, see
    `first_round`. batch, learning_rate: of all of them; batch counts images. pixel_share: each member sees its own
    random share of the pixels of a step, which keeps members different. lattice_side: larger images are learnt from at
    so many of their rows and columns, see `Lattice`. keypoint_weight, depth_weight: of their losses beside the
    segmentation's. image_steps, image_rate, image_decay, image_noise: steps, learning rate, weight decay and noise on
    standardised features of the heads for whole images. folds, fold_steps: of the cross-validation, 0 folds for none.
    min_psnr_db: a seed whose reconstruction is worse does not enter the fit. misfit_share: of the seeds' pixels, those
    that are rebuilt worst, whose masks and depth are not learnt from. flip: learn from flipped seeds as well, where
    labels and generator allow. pilots: truncation → random samples whose uncertainty is measured. lessons: random
    images of the second round, 0 for none. teacher_steps, teacher_batch, teacher_rate: the training of its teacher,
    which sees images at most teacher_side pixels a side. lpips_backbone, lpips_weights: see `PerceptualDistance`; the
    path does not enter the fingerprint."""

    members: int = 3
    hidden: tuple[int, ...] = (24,)
    shared: int = 48
    steps: int = 400
    first_steps: int = 200
    second_steps: int = 1600
    batch: int = 4
    learning_rate: float = 1e-2
    pixel_share: float = 0.5
    lattice_side: int = 128
    keypoint_weight: float = 0.03
    depth_weight: float = 0.8
    image_steps: int = 200
    image_rate: float = 2e-3
    image_decay: float = 1.0
    image_noise: float = 0.7
    folds: int = 4
    fold_steps: int = 150
    min_psnr_db: float = 16.0
    misfit_share: float = 0.02
    flip: bool = True
    pilots: tuple[tuple[float, int], ...] = ((0.4, 128), (0.7, 128), (1.0, 768))
    lessons: int = 400
    teacher_side: int = 256
    teacher_steps: int = 1200
    teacher_batch: int = 8
    teacher_rate: float = 3e-3
    refinement: RefinementSettings = field(default_factory=RefinementSettings)
    lpips_backbone: Backbone = "alex"
    lpips_weights: Path | None = None
    seed: int = 0

    def fingerprint(self) -> dict[str, Any]:
        """What decides the result of a fit, as JSON values, for the fit key."""
        weights = self.lpips_weights or find_backbone_weights(self.lpips_backbone)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights else "random"
        return asdict(self) | {"lpips_weights": digest}
