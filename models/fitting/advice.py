"""What to do about what a fit found, a sentence for each finding."""

from typing import Any

from models.fitting.cross_validation import LEAST_SEEDS
from models.heads.uncertainty import CLASS, DEPTH, KEYPOINTS, SEGMENTATION
from models.label_quality import pck_reach

FEW = 3
"""Fewer examples than this are too few to tell what a class, a point or a value looks like."""

ENOUGH_TO_TRUST = 10
"""So many seeds held out tell whether a labeler is surer of an attribute than it is right."""

ENOUGH_TO_RANK = 30
"""So many tell whether the uncertain ones among them are the wrong ones. Where the correlation of uncertainty and the
logarithm of the error is .3, 20 deny it by chance in 12 cases of 100, 30 in 8, and 50 in 4."""

WRONG_TO_RANK = 3
"""Of attributes, so many seeds have to be wrong for that."""

LOW_IOU, LOW_PCK, LOW_ACCURACY, HIGH_ABS_REL, HIGH_CALIBRATION_ERROR = 0.6, 0.8, 0.9, 0.1, 0.1


def advice(examples: dict[str, Any], held_out: dict[str, Any] | None) -> list[str]:
    """Sentences on what `models.fitting.report` found in the seeds of a fit; none where all is well.

    Args:
        examples: counts of classes, points and values in the seeds that entered the fit.
        held_out: figures of the cross-validation, None where there was none.
    """
    sentences = [
        *_too_few(examples.get(SEGMENTATION, {}), "class", "shows it", "show it"),
        *_too_few(examples.get(KEYPOINTS, {}), "point", "labels it", "label it"),
    ]
    for attribute, counts in examples.get(CLASS, {}).items():
        sentences += _too_few(counts, attribute, "has it", "have it")
    if held_out is None:
        sentences.append(
            f"Nothing could be held out to check the labels: give at least {LEAST_SEEDS} seeds that invert well."
        )
        return sentences
    gaining, others = _kinds_by_gain(held_out)
    sentences += _on_masks(held_out.get(SEGMENTATION, {}), examples.get(SEGMENTATION, {}), SEGMENTATION in gaining)
    sentences += _on_points(held_out.get(KEYPOINTS, {}), examples.get(KEYPOINTS, {}))
    if (off := held_out.get(DEPTH, {}).get("abs_rel") or 0.0) > HIGH_ABS_REL:
        sentences.append(
            f"Depth of seeds held out is off by {off:.0%} on average: check that all depth maps have one unit and one "
            "scale, and give more seeds."
        )
    for attribute, figures in held_out.get(CLASS, {}).items():
        sentences += _on_attribute(attribute, figures, held_out["seeds"], CLASS in gaining)
    if others and not gaining:  # a job discards by one number for all kinds
        sentences.append(
            "Those seeds held out that the labeler is least certain about are labeled no worse than the others "
            f"({', '.join(others)}): discarding uncertain samples brings nothing, so `discard_fraction` may as well be "
            "0."
        )
    return sentences


def _kinds_by_gain(held_out: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The label kinds whose errors discarding the most uncertain seeds lessens, and those where it does not. Kinds are
    left out of which the seeds cannot tell."""
    gaining: list[str] = []
    others: list[str] = []
    if held_out["seeds"] >= ENOUGH_TO_RANK:
        for kind, areas in held_out.get("risk_coverage", {}).items():
            if areas["none"] * held_out["seeds"] >= WRONG_TO_RANK if kind == CLASS else areas["none"] > 0:
                (gaining if areas["area"] < areas["none"] else others).append(kind)
    return gaining, others


def _begun(words: str) -> str:
    """With the first letter of a sentence; the others as the user wrote them."""
    return words[:1].upper() + words[1:]


def _too_few(counts: dict[str, int], what: str, one: str, several: str) -> list[str]:
    sentences = []
    for name, count in counts.items():
        if count >= FEW:
            continue
        amount = {0: f"no seed of the fit {one}", 1: f"only one seed of the fit {one}"}.get(
            count, f"only {count} seeds of the fit {several}"
        )
        sentences.append(f"{_begun(what)} {name}: {amount}; give at least {FEW}, or leave it out of the project.")
    return sentences


def _on_masks(figures: dict[str, Any], counts: dict[str, int], gains: bool) -> list[str]:
    """Nothing is said of a class of which there are too few examples: that is said already."""
    sentences = []
    for name, score in figures.get("class_iou", {}).items():
        if score is None or score >= LOW_IOU or counts.get(name, FEW) < FEW:
            continue
        sentences.append(
            f"Class {name} is labeled poorly in seeds held out (IoU {score:.2f}{_mistake(name, figures['confused'])}): "
            "give more seeds that show it large and clear, and check that its border is drawn alike in all of them."
        )
    return sentences + _on_confidence("the masks", figures, gains)


def _mistake(name: str, confused: list[dict[str, Any]]) -> str:
    """What a class is taken for, or what is taken for it, whichever is the larger share."""
    lost = max((pair for pair in confused if pair["truth"] == name), key=_share, default=None)
    won = max((pair for pair in confused if pair["predicted"] == name), key=_share, default=None)
    if lost is not None and (won is None or _share(lost) >= _share(won)):
        return f", {_share(lost):.0%} of it taken for {lost['predicted']}"
    return "" if won is None else f", {_share(won):.0%} of {won['truth']} taken for it"


def _share(pair: dict[str, Any]) -> float:
    return float(pair["share"])


def _on_points(figures: dict[str, Any], counts: dict[str, int]) -> list[str]:
    each = figures.get("point_pck", {})
    reach = pck_reach(len(each), figures["alpha"]) if each else ""
    return [
        f"Point {name} is found in {score:.0%} of the seeds held out ({reach}): check that it is put in the same place "
        "in all seeds, left and right included, and give more."
        for name, score in each.items()
        if score is not None and score < LOW_PCK and counts.get(name, FEW) >= FEW
    ]


def _on_attribute(attribute: str, figures: dict[str, Any], seeds: int, gains: bool) -> list[str]:
    sentences = []
    score = figures["accuracy"]
    if score is not None and score < LOW_ACCURACY:
        taken = figures["confused"][0]
        sentences.append(
            f"{_begun(attribute)} is right in {score:.0%} of the seeds held out; most often {taken['truth']} is "
            f"taken for {taken['predicted']}: give more seeds of both."
        )
    return sentences + (_on_confidence(attribute, figures, gains) if seeds >= ENOUGH_TO_TRUST else [])


def _on_confidence(what: str, figures: dict[str, Any], gains: bool) -> list[str]:
    """On being surer than right. Bins of few examples say little, so the mean over all of them counts."""
    found = figures.get("reliability")
    total = sum(row["count"] for row in found["bins"]) if found else 0
    if not found or not total:
        return []
    ahead = sum((row["confidence"] - row["right"]) * row["count"] for row in found["bins"]) / total
    if ahead <= HIGH_CALIBRATION_ERROR:
        return []
    otherwise = ", or discard more of the uncertain samples" if gains else ""
    return [f"The labeler is surer of {what} than it is right, by {ahead:.0%} on average: give more seeds{otherwise}."]
