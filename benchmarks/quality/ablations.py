"""What single settings are worth: the segmentation network on data sets that differ in one of them."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.quality.artefacts import World
from benchmarks.quality.plan import Plan
from benchmarks.quality.record import Record
from benchmarks.quality.steps import Facts
from benchmarks.quality.summary import Over
from benchmarks.quality.trial import Source, Trial
from models.inversion.perceptual import find_backbone_weights

SEEDS = 16
"""Seeds of every ablation but the one of their number."""

SEED_COUNTS = (1, 2, 5, 10, 16, 25, 50)


@dataclass(frozen=True)
class Variant:
    """A value of the setting that is looked at. label: the value in words. usual: whether it is the default, which the
    others are compared with."""

    label: str
    plan: Plan
    seeds: int = SEEDS
    usual: bool = False
    source: Source = "handsoff"

    def trials(self, world: World, draws: int) -> list[Trial]:
        """Its networks, one for each draw; equal draws of two variants have equal seeds and latents."""
        return [self.plan.trial(world, "segmentation", self.source, self.seeds, draw) for draw in range(draws)]


def _seeds(plan: Plan) -> list[Variant]:
    return [Variant(str(count), plan, count, count == SEEDS) for count in SEED_COUNTS]


def _refinement(plan: Plan) -> list[Variant]:
    # Every seed enters the fit, however the encoder alone inverts it: the same labels on both sides.
    alone = replace(plan.fit, refinement=replace(plan.fit.refinement, steps=0), min_psnr_db=0.0)
    return [Variant("encoder only", replace(plan, fit=alone)), Variant("refined", plan, usual=True)]


def _lpips(plan: Plan) -> list[Variant]:
    """The service compares features of a trained network, and none of a random one."""
    refinement = plan.fit.refinement
    trained = find_backbone_weights(plan.fit.lpips_backbone) is not None
    off = replace(plan.fit, refinement=replace(refinement, lpips_weight=0.0))
    on = replace(plan.fit, refinement=replace(refinement, random_lpips_weight=refinement.lpips_weight))
    return [
        Variant("off", replace(plan, fit=off) if trained else plan, usual=not trained),
        Variant("on", plan if trained else replace(plan, fit=on), usual=trained),
    ]


def _flip(plan: Plan) -> list[Variant]:
    return [
        Variant("as they are", replace(plan, fit=replace(plan.fit, flip=False))),
        Variant("flipped as well", plan, usual=True),
    ]


def _misfit(plan: Plan) -> list[Variant]:
    usual = plan.fit.misfit_share
    return [
        Variant(f"{100 * share:g} %", replace(plan, fit=replace(plan.fit, misfit_share=share)), usual=share == usual)
        for share in (0.0, 0.02, 0.05)
    ]


def _lessons(plan: Plan) -> list[Variant]:
    usual = plan.fit.lessons
    return [
        Variant(str(lessons), replace(plan, fit=replace(plan.fit, lessons=lessons)), usual=lessons == usual)
        for lessons in (0, 100, usual)
    ]


def _members(plan: Plan) -> list[Variant]:
    return [
        Variant(str(members), replace(plan, fit=replace(plan.fit, members=members)), usual=members == plan.fit.members)
        for members in (1, 3, 5, 10)
    ]


def _upsampling(plan: Plan) -> list[Variant]:
    return [Variant("nearest", replace(plan, upsampling="nearest")), Variant("bilinear", plan, usual=True)]


def _kinds(plan: Plan) -> list[Variant]:
    return [
        Variant("segmentation alone", replace(plan, fit_kinds=("segmentation",))),
        Variant("all four", plan, usual=True),
    ]


def _of_sampling(plan: Plan, name: str, values: Mapping[str, Any]) -> list[Variant]:
    usual = getattr(plan.sampling, name)
    return [
        Variant(label, replace(plan, sampling=replace(plan.sampling, **{name: value})), usual=value == usual)
        for label, value in values.items()
    ]


def _discard(plan: Plan) -> list[Variant]:
    return _of_sampling(plan, "discard_fraction", {"0 %": 0.0, "10 %": 0.1, "30 %": 0.3})


def _ignore(plan: Plan) -> list[Variant]:
    return _of_sampling(plan, "ignore_fraction", {"0 %": 0.0, "5 %": 0.05, "10 %": 0.1})


def _truncation(plan: Plan) -> list[Variant]:
    return _of_sampling(plan, "truncation", {"0.5": 0.5, "0.7": 0.7, "1.0": 1.0})


def _shares(plan: Plan) -> list[Variant]:
    shares = {"50 %": (0.5, 0.5), "25 % rising to all": (0.25, 1.0)}
    return [
        Variant(
            label, replace(plan, seeds_shares=share), usual=share == plan.seeds_shares, source="handsoff_plus_seeds"
        )
        for label, share in shares.items()
    ]


def _samples(plan: Plan) -> list[Variant]:
    usual = plan.sampling.count
    return _of_sampling(plan, "count", {f"{n:,}": n for n in (usual // 5, usual, 4 * usual)})


ABLATIONS: dict[str, tuple[str, Callable[[Plan], list[Variant]]]] = {
    "seeds": ("number of seeds", _seeds),
    "refinement": ("inversion", _refinement),
    "lpips": ("LPIPS in the inversion's loss", _lpips),
    "flip": ("seeds", _flip),
    "misfit": ("share of the seeds' pixels, those rebuilt worst, that is not learnt from", _misfit),
    "lessons": ("random images that a second round learns from", _lessons),
    "members": ("members of the ensemble", _members),
    "upsampling": ("upsampling of the hypercolumn", _upsampling),
    "kinds": ("label kinds that the labeler learns", _kinds),
    "discard": ("discarded share of the random samples", _discard),
    "ignore": ("ignored share of the pixels", _ignore),
    "samples": ("samples in the data set", _samples),
    "truncation": ("truncation", _truncation),
    "shares": ("share of the seeds in a batch of data set and seeds", _shares),
}
"""Name → what is varied, and the variants of a plan."""


def variants(name: str, plan: Plan) -> list[Variant]:
    """The values that an ablation compares, the usual one among them."""
    return ABLATIONS[name][1](plan)


def ablation_summary(name: str, plan: Plan, world: World, record: Record, draws: int) -> dict[str, Any]:
    """`values`: for each value the `mean` and `spread` of the mIoU over the draws, those of its differences to the
    usual value on the same draws (`gain`, `gain_spread`), and the mean PSNR of the inverted seeds. `lpips`: whose
    features the inversions compared. None for what is not done."""
    found = variants(name, plan)
    figures = {variant.label: [_of(trial, record) for trial in variant.trials(world, draws)] for variant in found}
    usual = next(variant.label for variant in found if variant.usual)
    rows = {variant.label: _row(figures[variant.label], figures[usual]) for variant in found}
    for variant in found:
        rows[variant.label]["psnr_db"] = _psnr(variant, world, record, draws)
    return {
        "ablation": name,
        "bears": world.bears.name,
        "varied": ABLATIONS[name][0],
        "seeds": None if name == "seeds" else SEEDS,
        "draws": draws,
        "usual": usual,
        "lpips": _lpips_features(found, world, record, draws),
        "values": rows,
    }


def _of(trial: Trial, record: Record) -> float | None:
    return (record.facts(trial) or {}).get("mean_iou")


def _row(values: list[float | None], usual: list[float | None]) -> dict[str, Any]:
    mine = Over.draws([value for value in values if value is not None])
    pairs = zip(values, usual, strict=True)
    gain = Over.draws([a - b for a, b in pairs if a is not None and b is not None])
    return {"mean": mine.mean, "spread": mine.spread, "gain": gain.mean, "gain_spread": gain.spread}


def _fits(variant: Variant, world: World, record: Record, draws: int) -> list[Facts]:
    """What was said of the fits that are done."""
    fits = [variant.plan.seed_fit(world, variant.seeds, draw) for draw in range(draws)]
    return [facts for fit in fits if (facts := record.facts(fit)) is not None]


def _psnr(variant: Variant, world: World, record: Record, draws: int) -> float | None:
    values = [facts["psnr_db"] for facts in _fits(variant, world, record, draws)]
    return round(statistics.fmean(values), 2) if values else None


def _lpips_features(found: list[Variant], world: World, record: Record, draws: int) -> str | None:
    """Whose features LPIPS compared in the inversions: `pretrained` or `random`."""
    return next((facts["perceptual"] for variant in found for facts in _fits(variant, world, record, draws)), None)
