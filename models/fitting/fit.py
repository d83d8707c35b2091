"""Turning the images and labels of seeds into a labeler, with a report of how well that went."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.fitting.advice import advice
from models.fitting.cross_validation import HeldOut, cross_validate, fold_count
from models.fitting.lattice import Lattice
from models.fitting.misfit import without_misfits
from models.fitting.pilots import draw_pilots, pilot_batches
from models.fitting.report import examples, held_out_figures, image_figures, number
from models.fitting.second_round import (
    SeedPictures,
    first_round,
    lesson_count,
    room_beside,
    second_round,
    second_round_steps,
)
from models.fitting.seed_features import PooledFeatures, SeedFeatures, at_once
from models.fitting.seed_labels import LabelNames, StackedLabels
from models.fitting.settings import FitSettings
from models.fitting.training import Examples, train_labeler
from models.fitting.twins import Twins, flipped_labels, twins_of
from models.inversion.perceptual import PerceptualDistance
from models.inversion.refinement import Inversions, invert
from models.label_quality import class_iou
from models.labeler import Labeler
from models.labeling import LabelingKernel
from models.labels import ImageLabels, LabelLayout, LabelMirror
from models.pictures import to_network, to_uint8

Progress = Callable[[str, int, int], None]

RANDOM_IMAGES = 128
"""Random samples whose pooled features give the statistics of those of the seeds."""

LABELED_AT_ONCE = 8
"""Seeds, where they are not large."""


class FitError(ValueError):
    """The seeds cannot be fitted; the message says why and what to do."""


@dataclass(frozen=True)
class FitOutcome:
    """labeler: frozen. codes: float32 (N, num_ws, w_dim). reconstructions: uint8 (N, H, W, 3). predictions: the
    labeler's labels of the reconstructions. report: JSON values."""

    labeler: Labeler
    codes: npt.NDArray[np.float32]
    reconstructions: npt.NDArray[np.uint8]
    predictions: list[ImageLabels]
    report: dict[str, Any]


@dataclass(frozen=True)
class Learnt:
    """What the codes of seeds and their labels came to. predictions: of every seed. held_out: of those in the fit, None
    without a cross-validation. lessons: random images that the second round learnt from, 0 without one. flipped: how
    many flipped seeds were learnt from. seconds: by phase."""

    labeler: Labeler
    predictions: StackedLabels
    held_out: HeldOut | None
    lessons: int
    flipped: int
    seconds: dict[str, float]


def fit(
    bundle: GeneratorBundle,
    images: npt.NDArray[np.uint8],
    labels: Sequence[ImageLabels],
    layout: LabelLayout,
    names: LabelNames,
    settings: FitSettings,
    progress: Progress,
    forced: Sequence[bool] | None = None,
    mirror: LabelMirror | None = None,
) -> FitOutcome:
    """Turn seeds into a labeler.

    Args:
        images: (N, H, W, 3) at the generator's resolution.
        labels: of each image, every kind of the layout.
        names: of what the layout counts.
        progress: called with the phase (`invert`, `fit`), what is done and what there is in all; an exception that it
            raises ends the fit.
        forced: of each seed, whether it enters the fit however badly it inverts; by default none.
        mirror: what labels become in a flipped image; None if that is not known, and seeds are not flipped.

    Raises:
        FitError: no seed can be inverted.
        ValueError: an image lacks a label of the layout, or the file with the weights of LPIPS is not one.
    """
    truth = StackedLabels.of(labels, layout)
    perceptual = PerceptualDistance(settings.lpips_backbone, settings.lpips_weights).to(bundle.device)
    started = time.monotonic()
    inversions, twins = invert_seeds(
        bundle, perceptual, images, truth, settings, mirror, lambda *done: progress("invert", *done)
    )
    inverted = time.monotonic()
    included = _included(inversions, settings, forced or [False] * len(images))
    learnt = learn(
        bundle,
        inversions.codes,
        truth,
        included,
        layout,
        settings,
        lambda *done: progress("fit", *done),
        twins,
        inversions.misfit,
        seed_pictures(images, truth, twins, mirror),
    )
    report = {
        "perceptual": {"backbone": perceptual.backbone, "weights": perceptual.source},
        "seeds": _seed_rows(bundle, inversions, learnt, truth, included, forced, names, settings),
        "mean_psnr_db": round(float(inversions.psnr_db.mean()), 2),
        "mean_lpips": round(float(inversions.lpips.mean()), 4),
        "refinement_steps": inversions.steps,
        "flipped": _flipped(twins, included, learnt.flipped),
        "lessons": learnt.lessons,
        "training_iou": _training_iou(learnt.predictions, truth, included, names),
        **_findings(learnt, truth, included, names, bundle.resolution),
        "seconds": {"invert": round(inverted - started, 2), **learnt.seconds},
        "settings": settings.fingerprint(),
    }
    return FitOutcome(
        learnt.labeler,
        inversions.codes.cpu().numpy(),
        to_uint8(inversions.reconstructions),
        learnt.predictions.each(),
        report,
    )


def invert_seeds(
    bundle: GeneratorBundle,
    perceptual: PerceptualDistance,
    images: npt.NDArray[np.uint8],
    truth: StackedLabels,
    settings: FitSettings,
    mirror: LabelMirror | None,
    progress: Callable[[int, int], None],
) -> tuple[Inversions, Twins | None]:
    """The inversions of seeds, and their twins where `settings.flip` and `mirror` allow.

    Args:
        images: uint8 (N, H, W, 3). truth: their labels.
        progress: called with what is done and what there is in all.
    """
    count = len(images)
    if mirror is None or not settings.flip:
        return invert(bundle, perceptual, to_network(images, bundle.device), settings.refinement, progress), None
    both = np.concatenate([images, images[:, :, ::-1]])
    found = invert(bundle, perceptual, to_network(both, bundle.device), settings.refinement, progress)
    straight, flipped = found.rows(slice(0, count)), found.rows(slice(count, None))
    labels = flipped_labels(truth, mirror, images.shape[2])
    # A copy, so that the flipped half is let go of: at 1024 pixels a side, that is 600 MB for 50 seeds.
    alone = replace(straight, reconstructions=straight.reconstructions.clone())
    return alone, twins_of(flipped, straight, labels, settings.min_psnr_db)


def seed_pictures(
    images: npt.NDArray[np.uint8], truth: StackedLabels, twins: Twins | None, mirror: LabelMirror | None
) -> SeedPictures | None:
    """What a teacher is to see of the seeds, flipped only where the generator makes mirrored images as well; None
    without masks."""
    if truth.masks is None:
        return None
    symmetric = mirror is not None and twins is not None and bool(twins.usable.any())
    return SeedPictures(images, truth.masks, mirror.classes if mirror is not None and symmetric else None)


def _flipped(twins: Twins | None, included: Sequence[bool], used: int) -> dict[str, Any] | None:
    """What the report says of flipped seeds; None where there are none."""
    if twins is None:
        return None
    return {
        "psnr_db": round(twins.psnr_db, 2),
        "straight_psnr_db": round(twins.straight_psnr_db, 2),
        "usable": int((twins.usable & torch.tensor(included)).sum()),
        "used": used,
    }


def learn(
    bundle: GeneratorBundle,
    codes: Tensor,
    truth: StackedLabels,
    included: Sequence[bool],
    layout: LabelLayout,
    settings: FitSettings,
    report: Callable[[int, int], None],
    twins: Twins | None = None,
    misfit: Tensor | None = None,
    pictures: SeedPictures | None = None,
) -> Learnt:
    """What follows the inversion: train, in two rounds, cross-validate, draw pilot samples, and label the seeds.

    Args:
        codes: (N, num_ws, w_dim). truth, included: of each of them.
        report: called with what is done and what there is in all; a batch of pilot samples counts as one step.
        twins: of these seeds, to learn from as well, unless the features of lessons need the room of theirs.
        misfit: (N, H, W), of the reconstructions of the seeds; None if the codes are exact.
        pictures: the seeds themselves; None for no second round.
    """
    rows = torch.tensor([index for index, inside in enumerate(included) if inside])
    if twins is not None and not twins.usable[rows].any():
        twins = None  # their features would only take room
    lessons = fewest = 0
    if pictures is not None:
        pictures = pictures.rows(rows.tolist())
        fewest = pictures.fewest
        lessons = lesson_count(bundle, layout, len(codes) * (1 if twins is None else 2), settings)
        if twins is not None and not lessons and (lessons := lesson_count(bundle, layout, len(codes), settings)):
            twins = None  # of which lessons bring several times as much
    first = first_round(lessons, fewest, settings)
    trained = first.steps + sum(second_round_steps(bundle, lessons, fewest, settings))
    checked = trained + settings.fold_steps * fold_count(len(rows), settings)
    total = checked + pilot_batches(bundle, settings)
    seconds, mark = {}, time.monotonic()

    def lap(phase: str) -> None:
        nonlocal mark
        seconds[phase], mark = round(time.monotonic() - mark, 2), time.monotonic()

    seeds = len(codes)
    if twins is not None:
        codes, truth = torch.cat([codes, twins.codes]), truth.followed_by(twins.labels)
        misfit = None if misfit is None else torch.cat([misfit, twins.misfit])
    begun = partial(report, 0, total)
    lattice, room = _lattice(bundle, len(codes), settings), room_beside(bundle, lessons)
    features = SeedFeatures(bundle, codes, lattice, room, begun)
    says_of_images = layout.points or layout.attributes
    images = PooledFeatures.of(features, RANDOM_IMAGES, settings.seed, begun) if says_of_images else None
    learnt_from = rows if twins is None else twins.rows_with(rows)
    if misfit is not None:
        truth = without_misfits(truth, misfit.cpu().numpy(), learnt_from.tolist(), settings.misfit_share)
        del misfit
    tensors = truth.tensors(bundle.device)
    labeler = train_labeler(features, tensors, learnt_from, layout, images, first, lambda done: report(done, total))
    lap("fit")
    if pictures is not None and lessons:
        labeler = second_round(
            labeler,
            Examples(features, tensors, learnt_from),
            images,
            pictures,
            lessons,
            settings,
            lambda done: report(first.steps + done, total),
        )
        lap("second_round")
    held_out = cross_validate(
        features, tensors, rows, layout, images, settings, lambda done: report(trained + done, total), twins
    )
    lap("cross_validate")
    draw_pilots(bundle, labeler, settings, lambda done: report(checked + done, total))
    lap("pilot")
    chunks = torch.arange(seeds).split(at_once(bundle.resolution, LABELED_AT_ONCE))
    kernel = LabelingKernel(labeler, features.precision)
    said = (replace(kernel.label(features.of(chunk)), pixel_uncertainty=None) for chunk in chunks)
    predictions = StackedLabels.of_batches(list(said))
    return Learnt(labeler, predictions, held_out, lessons, len(learnt_from) - len(rows), seconds)


def _lattice(bundle: GeneratorBundle, images: int, settings: FitSettings) -> Lattice | None:
    """The pixels that are learnt from; None for all, where images are not large."""
    if bundle.resolution <= settings.lattice_side:
        return None
    return Lattice.draw(images, bundle.resolution, settings.lattice_side, settings.seed, bundle.device)


def _included(inversions: Inversions, settings: FitSettings, forced: Sequence[bool]) -> list[bool]:
    """Which seeds enter the fit: those whose reconstruction shows them, and those that are forced to."""
    kept = [
        force or float(psnr) >= settings.min_psnr_db for psnr, force in zip(inversions.psnr_db, forced, strict=True)
    ]
    if not any(kept):
        best = float(inversions.psnr_db.max())
        raise FitError(
            f"none of the {len(kept)} seeds can be rebuilt by this generator (best {best:.1f} dB PSNR, needed "
            f"{settings.min_psnr_db:.1f} dB): the images are probably not of its domain; choose a generator trained on "
            "such images"
        )
    return kept


def _why(psnr: float, included: bool, settings: FitSettings) -> str | None:
    """Why a seed is left out, or why it is in although it should not be; None for the others."""
    if psnr >= settings.min_psnr_db:
        return None
    found = f"its reconstruction reaches {psnr:.1f} dB PSNR; {settings.min_psnr_db:.1f} dB are needed"
    return f"forced into the fit, though {found}" if included else found


def _seed_rows(
    bundle: GeneratorBundle,
    inversions: Inversions,
    learnt: Learnt,
    truth: StackedLabels,
    included: Sequence[bool],
    forced: Sequence[bool] | None,
    names: LabelNames,
    settings: FitSettings,
) -> list[dict[str, Any]]:
    """What the report says of each seed; `held_out` is None for one that was not held out."""
    unseen: dict[int, dict[str, Any]] = {}
    if learnt.held_out is not None:
        right = truth.rows(learnt.held_out.rows.tolist())
        for place, index in enumerate(learnt.held_out.rows.tolist()):
            unseen[index] = image_figures(learnt.held_out.labels, right, place, names, bundle.resolution)
    return [
        {
            "index": index,
            "psnr_db": round(float(inversions.psnr_db[index]), 2),
            "lpips": round(float(inversions.lpips[index]), 4),
            "p_norm": round(float(inversions.p_norm[index]), 3),
            **image_figures(learnt.predictions, truth, index, names, bundle.resolution),
            "held_out": unseen.get(index),
            "included": inside,
            "forced": bool(forced and forced[index]),
            "reason": _why(float(inversions.psnr_db[index]), inside, settings),
        }
        for index, inside in enumerate(included)
    ]


def _training_iou(
    predictions: StackedLabels, truth: StackedLabels, included: Sequence[bool], names: LabelNames
) -> dict[str, float | None]:
    if predictions.masks is None or truth.masks is None:
        return {}
    used = np.array(included)
    scores = class_iou(predictions.masks[used], truth.masks[used], len(names.classes))
    return {name: number(score) for name, score in zip(names.classes, scores, strict=True)}


def _findings(
    learnt: Learnt, truth: StackedLabels, included: Sequence[bool], names: LabelNames, side: int
) -> dict[str, Any]:
    """`examples`, `held_out` and `advice` of the report."""
    counts = examples(truth.rows([index for index, inside in enumerate(included) if inside]), names)
    figures = None
    if learnt.held_out is not None:
        kinds = {kind: torch.from_numpy(values).float() for kind, values in learnt.held_out.kinds.items()}
        uncertainty = learnt.labeler.combined(kinds).numpy()
        right = truth.rows(learnt.held_out.rows.tolist())
        figures = held_out_figures(learnt.held_out, right, names, side, uncertainty)
    return {"examples": counts, "held_out": figures, "advice": advice(counts, figures)}
