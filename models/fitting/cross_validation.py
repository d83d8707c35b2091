"""How right the labels will be, learnt from the seeds alone: each is labeled by a labeler that has not seen it.

The codes stay; only the labeler is fitted again, for each fold in one round, with fewer steps than the one that is kept
and without lessons. So the figures, of masks above all, are worse than what they stand for.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.fitting.folds import deal
from models.fitting.seed_features import PooledFeatures, SeedFeatures, at_once
from models.fitting.seed_labels import LabelTensors, StackedLabels
from models.fitting.settings import FitSettings
from models.fitting.side_by_side import one_by_one, side_by_side
from models.fitting.training import train_labeler
from models.fitting.twins import Twins
from models.labeler import Labeler, Labels
from models.labeling import LabelingKernel
from models.labels import LabelLayout

SIDE_BY_SIDE = 64
"""Up to this resolution, a training of one fold leaves most of the processor idle."""

LEAST_SEEDS = 5
"""With fewer, what is left to learn from says nothing about what all of them would teach."""

CHUNK = 4
"""Images labeled at once, where they are not large."""


@dataclass(frozen=True)
class HeldOut:
    """What was said of seeds that were held out, in the order of `rows`.

    rows: int64 (n,), which seeds. folds: how many labelers there were. labels: of each seed. class_confidence: float32
    (n, H, W), the probability of the class that a mask names. attribute_confidence: float32 (n, A). kinds: the
    uncertainty (n,) of each kind.
    """

    rows: npt.NDArray[np.int64]
    folds: int
    labels: StackedLabels
    class_confidence: npt.NDArray[np.float32] | None
    attribute_confidence: npt.NDArray[np.float32] | None
    kinds: dict[str, npt.NDArray[np.float32]]


def fold_count(seeds: int, settings: FitSettings) -> int:
    """How many folds so many seeds are cut into; 0 for no cross-validation."""
    return min(settings.folds, seeds) if seeds >= LEAST_SEEDS and settings.folds > 1 else 0


def cross_validate(
    features: SeedFeatures,
    labels: LabelTensors,
    rows: Tensor,
    layout: LabelLayout,
    images: PooledFeatures | None,
    settings: FitSettings,
    report: Callable[[int], None],
    twins: Twins | None = None,
) -> HeldOut | None:
    """Label every seed of `rows` by a labeler that learnt from the other folds.

    Args:
        features, labels, images: of all seeds, as `train_labeler` takes them. rows: those that are in the fit, int64.
        report: called with the steps done, of `fold_count` × `fold_steps`.
        twins: of the seeds, behind them in `features`, `labels` and `images`; those of a fold are held out with it.

    Returns:
        None for too few seeds, or where the settings ask for none.
    """
    folds = fold_count(len(rows), settings)
    if not folds:
        return None
    parts = deal(rows, labels, folds, settings.seed)
    shorter = replace(settings, steps=settings.fold_steps)

    def of_fold(out: Tensor, tell: Callable[[int], None]) -> list[_Said]:
        others = torch.cat([part for part in parts if part is not out])
        if twins is not None:
            others = twins.rows_with(others)
        labeler = train_labeler(features, labels, others, layout, images, shorter, tell)
        kernel = LabelingKernel(labeler, features.precision)
        seen = map(features.of, out.split(at_once(features.bundle.resolution, CHUNK)))
        return [_said(labeler, kernel, each) for each in seen]

    works = [partial(of_fold, part) for part in parts]
    # Large images keep all threads busy, and the memory of several trainings would not be there.
    small = features.lattice is None and features.bundle.resolution <= SIDE_BY_SIDE
    beside = small and features.bundle.device.type == "cpu"
    said = side_by_side(works, report) if beside else one_by_one(works, report)
    return _joined(torch.cat(parts), folds, [each for fold in said for each in fold])


@dataclass(frozen=True)
class _Said:
    labels: Labels
    classes: Tensor | None
    attributes: Tensor | None


@torch.inference_mode()
def _sure(labeler: Labeler, features: list[Tensor]) -> Tensor | None:
    """The members' mean probability of each attribute's value, (B, A)."""
    _, attributes = labeler.of_whole_images(features)
    each = [logits.softmax(dim=2).mean(dim=1).amax(dim=1) for logits in attributes]
    return torch.stack(each, dim=1) if each else None


def _said(labeler: Labeler, kernel: LabelingKernel, features: list[Tensor]) -> _Said:
    labels = replace(kernel.label(features), pixel_uncertainty=None)  # large, and nobody asks for it
    return _Said(labels, kernel.confidence(features), _sure(labeler, features))


def _joined(rows: Tensor, folds: int, said: list[_Said]) -> HeldOut:
    def cat(values: list[Tensor | None]) -> npt.NDArray[np.float32] | None:
        there = [value for value in values if value is not None]
        return torch.cat(there).cpu().numpy() if there else None

    kinds = {kind: torch.cat([each.labels.kinds[kind] for each in said]).cpu().numpy() for kind in said[0].labels.kinds}
    return HeldOut(
        rows.numpy(),
        folds,
        StackedLabels.of_batches([each.labels for each in said]),
        cat([each.classes for each in said]),
        cat([each.attributes for each in said]),
        kinds,
    )
