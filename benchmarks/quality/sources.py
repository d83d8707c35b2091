"""Where the networks' training images come from: seeds, generated images labeled by us, and annotated ones."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.quality.data import LabeledImages
from models.bears import KEYPOINTS, SPECIES, Domain
from models.bears.scene import KEYPOINT_MIRROR
from models.bundle import GeneratorBundle
from models.fitting import FitSettings, LabelNames, StackedLabels
from models.fitting.fit import invert_seeds, learn, seed_pictures
from models.inversion.perceptual import PerceptualDistance
from models.inversion.refinement import Inversions
from models.labeler import Labeler
from models.labels import LabelLayout, LabelMirror
from models.pictures import to_uint8
from models.sampling import labeled_samples, latent


def names_of(domain: Domain) -> LabelNames:
    """What the labels of a bear are called."""
    return LabelNames(domain.parts, tuple(KEYPOINTS), (("species", tuple(SPECIES)),))


def mirror_of(domain: Domain) -> LabelMirror:
    """What the labels of a bear become in a flipped image."""
    points = tuple(int(place) for place in KEYPOINT_MIRROR)
    return LabelMirror(tuple(range(len(domain.parts))), points, (tuple(range(len(SPECIES))),))


@dataclass(frozen=True)
class Fitted:
    """labeler: frozen. inversions: of the seeds, None where their codes were known. fit_s, invert_s: wall
    time, of flipped seeds as well."""

    labeler: Labeler
    inversions: Inversions | None
    fit_s: float
    invert_s: float


@dataclass(frozen=True)
class Sampling:
    """How a data set is drawn, as in `POST /generate`."""

    count: int = 5_000
    truncation: float = 1.0
    discard_fraction: float = 0.1
    ignore_fraction: float = 0.0
    job_seed: int = 0


def layout_of(labels: StackedLabels, domain: Domain) -> LabelLayout:
    """The layout of a project with these labels of bears."""
    depth = labels.depth
    return LabelLayout(
        classes=0 if labels.masks is None else len(domain.parts),
        points=0 if labels.keypoints is None else len(KEYPOINTS),
        depth=None if depth is None else (float(np.nanmin(depth)), float(np.nanmax(depth))),
        attributes=() if labels.attributes is None else (len(SPECIES),),
    )


Report = Callable[[int, int], None]


def fit_seeds(
    bundle: GeneratorBundle,
    seeds: LabeledImages,
    domain: Domain,
    settings: FitSettings,
    report: Report = lambda *_: None,
) -> Fitted:
    """HandsOff: invert the seeds, and fit a labeler on their codes and labels, as the service does.

    Args:
        report: called with what is done and what there is in all, first of the inversion, then of the fit.
    """
    started = time.perf_counter()
    perceptual = PerceptualDistance(settings.lpips_backbone, settings.lpips_weights)
    found, twins = invert_seeds(bundle, perceptual, seeds.images, seeds.labels, settings, mirror_of(domain), report)
    inverted = time.perf_counter()
    included = [float(psnr) >= settings.min_psnr_db for psnr in found.psnr_db]
    layout = layout_of(seeds.labels, domain)
    pictures = seed_pictures(seeds.images, seeds.labels, twins, mirror_of(domain))
    learnt = learn(bundle, found.codes, seeds.labels, included, layout, settings, report, twins, found.misfit, pictures)
    return Fitted(learnt.labeler, found, time.perf_counter() - inverted, inverted - started)


def fit_codes(
    bundle: GeneratorBundle,
    codes: torch.Tensor,
    labels: StackedLabels,
    domain: Domain,
    settings: FitSettings,
    report: Report = lambda *_: None,
) -> Fitted:
    """A labeler from known codes (N, num_ws, w_dim) and labels of their images, in one round."""
    started = time.perf_counter()
    learnt = learn(bundle, codes, labels, [True] * len(codes), layout_of(labels, domain), settings, report)
    return Fitted(learnt.labeler, None, time.perf_counter() - started, 0.0)


@torch.inference_mode()
def random_images(
    bundle: GeneratorBundle, count: int, seed: int, first: int = 0
) -> tuple[torch.Tensor, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Codes (N, num_ws, w_dim) and images uint8 (N, R, R, 3) of random samples, from the one with index `first`, for
    someone to annotate."""
    z = np.stack([latent(seed, first + index, 0, bundle.generator.architecture.z_dim) for index in range(count)])
    codes = bundle.generator.broadcast(bundle.generator.mapping(torch.from_numpy(z)))
    return codes, to_uint8(bundle.generator.synthesis(codes)[0])


def generated(
    bundle: GeneratorBundle,
    labeler: Labeler,
    sampling: Sampling,
    report: Callable[[int], None] = lambda _done: None,
) -> LabeledImages:
    """A data set as a job of the service makes it."""
    images, labels = [], []
    for sample in labeled_samples(
        bundle,
        labeler,
        sampling.job_seed,
        range(sampling.count),
        sampling.truncation,
        sampling.discard_fraction,
        ignore_fraction=sampling.ignore_fraction,
    ):
        images.append(sample.image)
        labels.append(sample.labels)
        report(len(images))
    return LabeledImages(np.stack(images), StackedLabels.of(labels, labeler.architecture.layout))
