"""The figures of a run as one JSON object."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.quality.artefacts import World
from benchmarks.quality.nets import Kind
from benchmarks.quality.plan import Plan
from benchmarks.quality.record import Record
from benchmarks.quality.trial import SEEDLESS, SOURCES, Source

FIGURES: dict[Kind, tuple[str, ...]] = {
    "keypoints": ("pck",),
    "depth": ("depth_abs_rel", "depth_rmse"),
    "class": ("class_accuracy",),
}
"""What `score` says of the kinds beside segmentation."""

NAMED = {"pck": "keypoints_pck"}
"""What figures are called in the object, where it is not what `score` calls them."""

GAINS = {5: 0.05, 16: 0.02, 50: 0.005}
"""Number of seeds → mIoU that our best source must have above the seeds alone."""

SHARES = {16: 0.93, 50: 0.97}
"""Number of seeds → share of the mIoU of full supervision that our best source must reach."""

LEAST = {"keypoints_pck": 0.9, "class_accuracy": 0.97}
MOST = {"depth_abs_rel": 0.05, "fit_s": 60.0}

OURS: tuple[Source, ...] = ("handsoff", "handsoff_plus_seeds")
SEEDED: tuple[Source, ...] = tuple(source for source in SOURCES if source not in SEEDLESS)


@dataclass(frozen=True)
class Over:
    """Mean and standard deviation over the draws (0 for one draw); None where no draw is done."""

    mean: float | None
    spread: float | None

    @staticmethod
    def draws(values: Sequence[float]) -> "Over":
        """Of the values of the draws."""
        if not values:
            return Over(None, None)
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return Over(round(statistics.fmean(values), 4), round(spread, 4))


@dataclass(frozen=True)
class Figures:
    """Looks up what the trials of a plan said."""

    plan: Plan
    world: World
    record: Record

    def of(self, kind: Kind, source: Source, seeds: int) -> list[dict[str, Any]]:
        """The facts of the draws that are done."""
        each = [self.plan.trial(self.world, kind, source, seeds, draw) for draw in range(self.plan.draws)]
        return [facts for trial in each if (facts := self.record.facts(trial)) is not None]

    def over(self, kind: Kind, source: Source, seeds: int, name: str) -> Over:
        """One of their figures."""
        return Over.draws([facts[name] for facts in self.of(kind, source, seeds)])

    def classes(self, source: Source, seeds: int) -> dict[str, Over]:
        """The IoU of each class."""
        facts = [each["class_iou"] for each in self.of("segmentation", source, seeds)]
        parts = self.world.bears.domain.parts
        return {name: Over.draws([each[name] for each in facts if each[name] is not None]) for name in parts}


def summary(plan: Plan, world: World, record: Record) -> dict[str, Any]:
    """The object; None for what is not done.

    `segmentation` and `spread`: mIoU by source and number of seeds, one figure for sources without seeds. `class_iou`:
    by source and class, for the most seeds. Then the figures of the other kinds as delivered, and `kinds`, the same for
    every source; what inversion and fit took; `bars` and `settings`.
    """
    figures, most = Figures(plan, world, record), max(plan.counts)
    by_count = {
        source: {str(count): figures.over("segmentation", source, count, "mean_iou") for count in plan.counts}
        for source in SEEDED
    }
    once = {source: figures.over("segmentation", source, 0, "mean_iou") for source in SEEDLESS}
    kinds = _kinds(figures, most)
    found: dict[str, Any] = {
        "segmentation": {source: {n: o.mean for n, o in row.items()} for source, row in by_count.items()}
        | {source: over.mean for source, over in once.items()},
        "spread": {source: {n: o.spread for n, o in row.items()} for source, row in by_count.items()}
        | {source: over.spread for source, over in once.items()},
        "class_iou": {
            source: {name: over.mean for name, over in figures.classes(source, most).items()} for source in SOURCES
        },
        **{name: rows["handsoff"]["mean"] for name, rows in kinds.items()},
        "kinds": kinds,
        **_timing(figures, most),
        "annotator_mean_iou": (record.facts(plan.annotator(world)) or {}).get("mean_iou"),
    }
    return found | {"bars": bars(found), "bears": world.bears.name, "settings": settings_of(plan)}


def _kinds(figures: Figures, seeds: int) -> dict[str, dict[str, dict[str, float | None]]]:
    """Figure → source → mean and spread, for the kinds beside segmentation."""
    sources: tuple[Source, ...] = ("seeds", *OURS, "full")
    return {
        NAMED.get(name, name): {source: asdict(figures.over(kind, source, seeds, name)) for source in sources}
        for kind, names in FIGURES.items()
        for name in names
    }


def _timing(figures: Figures, seeds: int) -> dict[str, Any]:
    """What inverting and fitting took in the fit that had the machine for itself. `inversion_s_per_image` is of a
    seed, with its mirror image where the fit inverts that, too."""
    facts = figures.record.facts(figures.plan.seed_fit(figures.world, seeds, 0))
    fits = [
        fit
        for draw in range(figures.plan.draws)
        # Another name than `facts`: it is bound out here as well.
        if (fit := figures.record.facts(figures.plan.seed_fit(figures.world, seeds, draw))) is not None
    ]
    if facts is None:
        return {"inversion_psnr_db": None, "inversion_s_per_image": None, "fit_s": None, "timing": None}
    return {
        "inversion_psnr_db": round(statistics.fmean(fit["psnr_db"] for fit in fits), 2),
        "inversion_s_per_image": round(facts["invert_s"] / seeds, 3),
        "fit_s": round(facts["fit_s"], 2),
        "timing": {
            "seeds": seeds,
            "threads": facts["threads"],
            "flipped": figures.plan.fit.flip,
            "how": "wall time, all seeds in one batch, all label kinds, nothing else of this run beside it",
            "lpips": facts["perceptual"],
        },
    }


def _bar(reached: float | None, target: float, met: bool) -> dict[str, Any]:
    return {"target": target, "reached": reached, "met": met}


def _at_least(reached: float | None, target: float) -> dict[str, Any]:
    return _bar(reached, target, reached is not None and reached >= target)


def bars(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each target: `target`, what was `reached` (None where it was not measured) and whether it is `met`."""
    means = found["segmentation"]

    def best(count: int) -> float | None:
        values = [means[source].get(str(count)) for source in OURS]
        return max((value for value in values if value is not None), default=None)

    def gap(count: int, other: float | None) -> float | None:
        ours = best(count)
        return None if ours is None or other is None else round(ours - other, 4)

    rows: dict[str, dict[str, Any]] = {}
    for count, target in GAINS.items():
        rows[f"gain_over_seeds_{count}"] = _at_least(gap(count, means["seeds"].get(str(count))), target)
    for count in GAINS:
        lead = gap(count, means["datasetgan"].get(str(count)))
        rows[f"gain_over_datasetgan_{count}"] = _bar(lead, 0.0, lead is not None and lead > 0)
    for count, target in SHARES.items():
        ours, full = best(count), means["full"]
        rows[f"share_of_full_{count}"] = _at_least(round(ours / full, 4) if ours and full else None, target)
    for name, target in LEAST.items():
        rows[name] = _at_least(found[name], target)
    for name, target in MOST.items():
        reached = found[name]
        rows[name] = _bar(reached, target, reached is not None and not math.isnan(reached) and reached <= target)
    return rows


def settings_of(plan: Plan) -> dict[str, Any]:
    """The plan's settings, without those of the fit that are its defaults."""
    values = asdict(plan)
    usual = asdict(type(plan.fit)())
    values["fit"] = {name: value for name, value in values["fit"].items() if value != usual[name]}
    return values


def headline(facts: Mapping[str, Any]) -> str:
    """What a step found, in a few words; empty if it found nothing."""
    names = ("mean_iou", *(name for each in FIGURES.values() for name in each))
    return ", ".join(f"{NAMED.get(name, name)} {facts[name]:.4f}" for name in names if facts.get(name) is not None)
