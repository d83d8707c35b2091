"""How right the labels are that a labeler gives to inverted renders, when its seeds were inverted alike."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.labels import figures, layout_of, truth_of
from benchmarks.quality.sources import names_of
from models.bears import Domain, Renders
from models.bundle import GeneratorBundle
from models.fitting import FitSettings
from models.fitting.fit import learn
from models.fitting.report import image_figures
from models.fitting.seed_features import SeedFeatures
from models.inversion.refinement import Inversions

KINDS = ["segmentation"]

FIT = FitSettings(folds=0, pilots=((1.0, 64),), flip=False)
"""The shipped labeler, without what says nothing of inversions."""


@dataclass(frozen=True)
class LabelQuality:
    """mean_iou: over the classes, of all images together. each: float64 (N,), the same of each image alone."""

    mean_iou: float
    each: npt.NDArray[np.float64]


def label_quality(
    bundle: GeneratorBundle,
    domain: Domain,
    seeds: Renders,
    inverted: Inversions,
    held_out: Renders,
    held_out_inverted: Inversions,
    fit_seed: int,
) -> LabelQuality:
    """Fit the shipped labeler on the seeds' masks, none of them flipped, in one round, which learns from nothing but
    the codes, and compare what it says of the held-out renders' codes with their exact masks. `inverted`,
    `held_out_inverted`: of both, in their order."""
    settings = replace(FIT, seed=fit_seed)
    truth, layout = truth_of(seeds, KINDS), layout_of(seeds, KINDS, domain)
    codes, included = inverted.codes, [True] * len(inverted.codes)
    learnt = learn(bundle, codes, truth, included, layout, settings, lambda *_: None, misfit=inverted.misfit)
    right = truth_of(held_out, KINDS)
    said, found = figures(learnt.labeler, SeedFeatures(bundle, held_out_inverted.codes), right, domain)
    names, side = names_of(domain), bundle.resolution
    each = [image_figures(said, right, row, names, side)["mean_iou"] for row in range(len(held_out_inverted.codes))]
    return LabelQuality(found["mean_iou"], np.array(each, np.float64))
