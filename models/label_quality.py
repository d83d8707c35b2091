"""How right labels are: figures for each label kind, for how far confidence can be trusted, and for discarding."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.heads.segmentation import IGNORED

PCK_ALPHA = 0.1
"""A point counts as found within this share of the larger side of the box around its image's labeled points, or of the
image where only one is labeled."""

_PIECE = 2**18
"""Pixels counted at once."""

Float = npt.NDArray[np.floating]


def class_iou(predicted: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], classes: int) -> list[float | None]:
    """Intersection over union of each class; None where neither array holds it. 255 in `truth` is ignored."""
    return iou_of(mask_confusion(predicted, truth, classes))


def iou_of(table: npt.NDArray[np.int64]) -> list[float | None]:
    """The same, from what `mask_confusion` counted."""
    both, union = np.diag(table), table.sum(0) + table.sum(1) - np.diag(table)
    return [float(b / u) if u else None for b, u in zip(both, union, strict=True)]


def mean_known(values: Sequence[float | None]) -> float:
    """The mean of those values that are not None, such as the IoU of the classes that occur; NaN where all are."""
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else float("nan")


def mask_confusion(
    predicted: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], classes: int
) -> npt.NDArray[np.int64]:
    """The `confusion` of masks of any shape; 255 in `truth` is ignored. It takes little memory beside them."""
    said, right = predicted.reshape(-1), truth.reshape(-1)
    table = np.zeros((classes, classes), np.int64)
    for start in range(0, right.size, _PIECE):
        piece = slice(start, start + _PIECE)
        known = right[piece] != IGNORED
        table += confusion(said[piece][known], right[piece][known], classes)
    return table


def confusion(predicted: npt.NDArray[np.integer], truth: npt.NDArray[np.integer], values: int) -> npt.NDArray[np.int64]:
    """How often each value of `truth` (rows) was called each value (columns): (values, values)."""
    pairs = truth.ravel().astype(np.int64) * values + predicted.ravel()
    return np.bincount(pairs, minlength=values * values).reshape(values, values)


def point_errors(predicted: Float, truth: Float, side: float) -> npt.NDArray[np.float64]:
    """Distance of each point from the true one, as a share of the larger side of the box around the image's labeled
    points (at least one pixel): (N, P), NaN for points that are not labeled. A single point has no box: its distance is
    a share of the image's side.

    Args:
        predicted, truth: (N, P, 3) of x, y and visibility; a point is labeled where its true visibility is not 0.
        side: of the images, in pixels.
    """
    labeled = truth[..., 2] > 0
    places = np.where(labeled[..., None], truth[..., :2], np.nan).astype(np.float64)
    low = np.where(labeled[..., None], places, np.inf).min(axis=1)
    high = np.where(labeled[..., None], places, -np.inf).max(axis=1)
    box = np.maximum((high - low).max(axis=1), 1.0)
    unit = np.where(labeled.sum(axis=1) > 1, box, side)
    errors: npt.NDArray[np.float64] = np.linalg.norm(predicted[..., :2] - places, axis=-1) / unit[:, None]
    return errors


def pck(predicted: Float, truth: Float, side: float, alpha: float = PCK_ALPHA) -> list[float | None]:
    """Percentage of correct keypoints as a share, for each point: how often it lies within `alpha`; None for a point
    that no image labels. Shapes as in `point_errors`."""
    errors = point_errors(predicted, truth, side)
    known = ~np.isnan(errors)
    found = (errors <= alpha) & known
    return [float(f / k) if k else None for f, k in zip(found.sum(0), known.sum(0), strict=True)]


def pck_reach(points: int, alpha: float) -> str:
    """In words, how near a point of a project with so many `points` must be to count as found."""
    return f"within {alpha:.0%} of the {'box around the points' if points > 1 else 'image'}"


def depth_errors(predicted: Float, truth: Float) -> tuple[float, float]:
    """Root mean square error in the unit, and the mean of |error| / depth, over the pixels whose depth is known (and,
    for the second, not zero); NaN where there is none."""
    known = ~np.isnan(truth)
    error, depth = predicted[known].astype(np.float64) - truth[known], np.abs(truth[known].astype(np.float64))
    if not error.size:
        return float("nan"), float("nan")
    relative = np.abs(error[depth > 0]) / depth[depth > 0]
    return float(np.sqrt((error**2).mean())), float(relative.mean()) if relative.size else float("nan")


def accuracy(predicted: npt.NDArray[np.integer], truth: npt.NDArray[np.integer]) -> float | None:
    """Share of known values, those not below 0, that are right; None where none is known."""
    known = truth >= 0
    return float((predicted[known] == truth[known]).mean()) if known.any() else None


def reliability(confidence: Float, right: npt.NDArray[np.bool_], bins: int = 10) -> list[tuple[float, float, int]]:
    """How often what is said with some confidence is right: (mean confidence, share that is right, count) of each of
    the equal intervals from 0 to 1 that are not empty."""
    place = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    rows = []
    for each in np.unique(place):
        inside = place == each
        rows.append((float(confidence[inside].mean(dtype=np.float64)), float(right[inside].mean()), int(inside.sum())))
    return rows


def calibration_error(rows: Sequence[tuple[float, float, int]]) -> float:
    """Expected calibration error of what `reliability` gave: the mean gap between confidence and share right, each
    interval counted by what is in it."""
    total = sum(count for *_, count in rows)
    return sum(abs(sure - right) * count for sure, right, count in rows) / total if total else float("nan")


def risk_coverage(uncertainty: Float, error: Float) -> dict[str, float]:
    """What discarding by uncertainty buys: the area under the curve of mean error against the share of samples kept.

    Args:
        uncertainty, error: (N,) of the same samples.

    Returns:
        `area` when the most uncertain are discarded first, `oracle` when the most wrong are, `none` when any are (the
        mean error).
    """
    kept = np.arange(1, len(error) + 1)

    def area(order: npt.NDArray[np.intp]) -> float:
        return float((np.cumsum(error[order].astype(np.float64)) / kept).mean())

    by_uncertainty = np.argsort(uncertainty, kind="stable")
    return {"area": area(by_uncertainty), "oracle": area(np.argsort(error)), "none": float(error.mean())}


def kept_errors(uncertainty: Float, error: Float, discarded: Sequence[int]) -> list[float]:
    """The mean error of what is left of samples (N,), when so many of them, the most uncertain ones, are discarded;
    fewer than N."""
    ordered = error[np.argsort(uncertainty, kind="stable")].astype(np.float64)
    return [float(ordered[: len(ordered) - count].mean()) for count in discarded]
