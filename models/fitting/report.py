"""What a fit tells about its labels, as JSON values: figures of seeds held out, and how many examples there are."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from models.fitting.cross_validation import HeldOut
from models.fitting.seed_labels import LabelNames, StackedLabels
from models.heads.segmentation import IGNORED
from models.heads.uncertainty import CLASS, DEPTH, KEYPOINTS, SEGMENTATION
from models.label_quality import (
    PCK_ALPHA,
    accuracy,
    calibration_error,
    class_iou,
    confusion,
    depth_errors,
    iou_of,
    kept_errors,
    mask_confusion,
    mean_known,
    pck,
    point_errors,
    reliability,
    risk_coverage,
)

DISCARDED = (0.0, 0.1, 0.2, 0.3, 0.5)
"""Shares of the seeds of which is told what discarding them would bring; of few seeds, the nearest that there are."""


Float = npt.NDArray[np.floating]


def number(value: float | None, digits: int = 4) -> float | None:
    """A figure as JSON has it: rounded, and None for what is not one."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def in_unit(value: float) -> float | None:
    """A figure in the unit of depth as JSON has it: to four significant digits, however small the unit makes it."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def image_figures(
    predicted: StackedLabels, truth: StackedLabels, index: int, names: LabelNames, side: int
) -> dict[str, Any]:
    """How right the labels of one image, `side` pixels wide and high, are for each label kind that there is."""
    said, right = predicted.rows([index]), truth.rows([index])
    figures: dict[str, Any] = {}
    if said.masks is not None and right.masks is not None:
        figures["mean_iou"] = number(mean_known(class_iou(said.masks, right.masks, len(names.classes))))
    if said.keypoints is not None and right.keypoints is not None:
        figures["pck"] = number(mean_known(pck(said.keypoints, right.keypoints, side)))
    if said.depth is not None and right.depth is not None:
        figures["depth_abs_rel"] = number(depth_errors(said.depth, right.depth)[1])
    if said.attributes is not None and right.attributes is not None:
        figures["class_accuracy"] = number(accuracy(said.attributes, right.attributes))
    return figures


def examples(labels: StackedLabels, names: LabelNames) -> dict[str, Any]:
    """How many of the images show each class, label each point and have each value of an attribute."""
    counts: dict[str, Any] = {}
    if labels.masks is not None:
        shown = [np.bincount(np.unique(mask), minlength=IGNORED + 1) for mask in labels.masks]
        counts[SEGMENTATION] = {name: int(sum(s[i] for s in shown)) for i, name in enumerate(names.classes)}
    if labels.keypoints is not None:
        given = (labels.keypoints[..., 2] > 0).sum(axis=0)
        counts[KEYPOINTS] = {name: int(count) for name, count in zip(names.points, given, strict=True)}
    if labels.attributes is not None:
        counts[CLASS] = {
            attribute: {value: int((labels.attributes[:, place] == i).sum()) for i, value in enumerate(values)}
            for place, (attribute, values) in enumerate(names.attributes)
        }
    return counts


def held_out_figures(
    held_out: HeldOut, truth: StackedLabels, names: LabelNames, side: int, uncertainty: Float | None = None
) -> dict[str, Any]:
    """How right the labels of seeds are that the labeler has not seen.

    Args:
        truth: the labels of the same images, in the same order.
        side: of the images, in pixels.
        uncertainty: (n,) of the same images, all label kinds in one number, as jobs discard by; by default each kind's
            own.
    """
    said = held_out.labels
    figures: dict[str, Any] = {"folds": held_out.folds, "seeds": len(held_out.rows)}
    if said.masks is not None and truth.masks is not None:
        figures[SEGMENTATION] = _of_masks(said.masks, truth.masks, held_out.class_confidence, names.classes)
    if said.keypoints is not None and truth.keypoints is not None:
        figures[KEYPOINTS] = _of_points(said.keypoints, truth.keypoints, names.points, side)
    if said.depth is not None and truth.depth is not None:
        rmse, relative = depth_errors(said.depth, truth.depth)
        figures[DEPTH] = {"rmse": in_unit(rmse), "abs_rel": number(relative)}
    if said.attributes is not None and truth.attributes is not None:
        figures[CLASS] = {
            name: _of_attribute(said.attributes[:, i], truth.attributes[:, i], _column(held_out, i), values)
            for i, (name, values) in enumerate(names.attributes)
        }
    for kind, error in _errors(said, truth, names, side).items():
        known = np.isfinite(error)
        if known.any():
            ranked = held_out.kinds[kind] if uncertainty is None else uncertainty
            figures.setdefault("risk_coverage", {})[kind] = _risk_coverage(ranked[known], error[known])
    return figures


def _risk_coverage(uncertainty: Float, error: npt.NDArray[np.float64]) -> dict[str, Any]:
    """The areas of `risk_coverage`, and for each share discarded the mean `error` of the rest beside that of an
    `oracle`."""
    areas: dict[str, Any] = {name: number(area) for name, area in risk_coverage(uncertainty, error).items()}
    seeds = len(error)
    counts = sorted({min(seeds - 1, int(share * seeds + 0.5)) for share in DISCARDED})
    rows = zip(counts, kept_errors(uncertainty, error, counts), kept_errors(error, error, counts), strict=True)
    curve = [
        {"discarded": number(count / seeds), "error": number(ours), "oracle": number(least)}
        for count, ours, least in rows
    ]
    return areas | {"curve": curve}


def _errors(
    said: StackedLabels, truth: StackedLabels, names: LabelNames, side: int
) -> dict[str, npt.NDArray[np.float64]]:
    """One error (n,) an image for each kind, NaN where nothing is known; what discarding should lessen."""
    errors = {}
    rows = range(next(len(v) for v in (said.masks, said.keypoints, said.depth, said.attributes) if v is not None))
    each = [image_figures(said, truth, row, names, side) for row in rows]

    def column(name: str) -> npt.NDArray[np.float64]:
        return np.array([figures[name] if figures[name] is not None else np.nan for figures in each], np.float64)

    if said.masks is not None:
        errors[SEGMENTATION] = 1 - column("mean_iou")
    if said.keypoints is not None and truth.keypoints is not None:
        distances = point_errors(said.keypoints, truth.keypoints, side)
        labeled = (~np.isnan(distances)).sum(axis=1)
        total = np.nansum(distances, axis=1)
        errors[KEYPOINTS] = np.where(labeled > 0, total / np.maximum(labeled, 1), np.nan)
    if said.depth is not None:
        errors[DEPTH] = column("depth_abs_rel")
    if said.attributes is not None:
        errors[CLASS] = 1 - column("class_accuracy")
    return errors


def _of_masks(
    said: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.uint8],
    confidence: npt.NDArray[np.float32] | None,
    names: tuple[str, ...],
) -> dict[str, Any]:
    known = truth != IGNORED
    table = mask_confusion(said, truth, len(names))
    scores = iou_of(table)
    figures: dict[str, Any] = {
        "mean_iou": number(mean_known(scores)),
        "class_iou": {name: number(score) for name, score in zip(names, scores, strict=True)},
        "confused": _confused(table, names),
    }
    if confidence is not None:
        figures["reliability"] = _reliability(confidence[known], said[known] == truth[known])
    return figures


def _of_points(
    said: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], names: tuple[str, ...], side: int
) -> dict[str, Any]:
    scores = pck(said, truth, side)
    right = accuracy(said[..., 2].astype(np.int64), truth[..., 2].astype(np.int64))
    return {
        "alpha": PCK_ALPHA,
        "pck": number(mean_known(scores)),
        "point_pck": {name: number(score) for name, score in zip(names, scores, strict=True)},
        "visibility_accuracy": number(right),
    }


def _of_attribute(
    said: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.float32],
    values: tuple[str, ...],
) -> dict[str, Any]:
    known = truth >= 0
    return {
        "accuracy": number(accuracy(said, truth)),
        "confused": _confused(confusion(said[known], truth[known], len(values)), values),
        "reliability": _reliability(confidence[known], said[known] == truth[known]),
    }


def _column(held_out: HeldOut, place: int) -> npt.NDArray[np.float32]:
    assert held_out.attribute_confidence is not None  # noqa: S101 - there are attributes
    return held_out.attribute_confidence[:, place]


def _confused(table: npt.NDArray[np.int64], names: Iterable[str]) -> list[dict[str, Any]]:
    """What each name is most often taken for, the most frequent mistake first: of what is `truth`, the `share` that was
    called `predicted`. Names that are never mistaken are left out."""
    words = list(names)
    wrong = table - np.diag(np.diag(table))
    worst = wrong.argmax(axis=1)
    counts = wrong[np.arange(len(words)), worst]
    return [
        {"truth": words[row], "predicted": words[worst[row]], "share": number(counts[row] / table[row].sum())}
        for row in np.argsort(-counts, kind="stable")
        if counts[row]
    ]


def _reliability(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    rows = reliability(confidence, right)
    return {
        "calibration_error": number(calibration_error(rows)),
        "bins": [{"confidence": number(sure), "right": number(share), "count": count} for sure, share, count in rows],
    }
