"""Which networks a run trains."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from benchmarks.quality.artefacts import AnnotatedData, AnnotatedFit, Annotator, DataSet, Renders, SeedFit, World
from benchmarks.quality.data import FULL_SEED, TEST_SEED
from benchmarks.quality.nets import KINDS, Kind
from benchmarks.quality.sources import Sampling
from benchmarks.quality.training import Budget
from benchmarks.quality.trial import Source, Trial
from benchmarks.quality.upsampling import Upsampling
from models.fitting import FitSettings

OTHER_KINDS: tuple[Kind, ...] = ("keypoints", "depth", "class")
BETWEEN_DRAWS = 1_000
"""Draw d of k seeds are the bears 1 + 1000·d and those that follow."""

BASELINE_MEMBERS = 5
"""Of the ensembles of the DatasetGAN source: more than ours, since more of them can only help."""

_PATIENT = replace(FitSettings(), refinement=replace(FitSettings().refinement, time_limit_s=86_400.0))
"""The service's settings, without a limit of time: what is found must not depend on how busy the machine is."""


@dataclass(frozen=True)
class Plan:
    """counts: of seeds; the kinds other than segmentation are trained for the largest. draws: sets of seeds of each
    count. budget: of every network that is compared. full: exact renders of full supervision. annotated: exact
    renders that the annotator of the DatasetGAN source learns from, within annotator_budget. test: exact renders to
    test on. sampling: of every data set; its job seed is the draw. seeds_shares: of the first and of the last
    batch, where seeds are added to a data set. fit, fit_kinds, upsampling: of our labelers; fit also of the
    DatasetGAN source's, which have `BASELINE_MEMBERS`. others: the label kinds beside segmentation that networks are
    trained for."""

    counts: tuple[int, ...] = (5, 16, 50)
    draws: int = 3
    # Small batches: of exact labels, 480 steps of 16 images learn 0.93 mIoU, 240 steps of 32 in the same time 0.87.
    budget: Budget = field(default_factory=lambda: Budget(steps=2_000, batch=16))
    full: int = 10_000
    annotated: int = 20_000
    annotator_budget: Budget = field(default_factory=lambda: Budget(steps=6_000, batch=16))
    test: int = 1_000
    sampling: Sampling = field(default_factory=Sampling)
    seeds_shares: tuple[float, float] = (0.25, 1.0)
    fit: FitSettings = field(default_factory=lambda: _PATIENT)
    fit_kinds: tuple[Kind, ...] = KINDS
    upsampling: Upsampling = "bilinear"
    others: tuple[Kind, ...] = OTHER_KINDS

    def test_set(self, world: World) -> Renders:
        """What every network is tested on."""
        return Renders(world.bears, TEST_SEED, self.test)

    def seeds(self, world: World, count: int, draw: int) -> Renders:
        """The seeds of a draw."""
        return Renders(world.bears, 1 + BETWEEN_DRAWS * draw, count)

    def seed_fit(self, world: World, count: int, draw: int) -> SeedFit:
        """Our labeler. Cross-validation, which changes nothing in it, is left to the fit
        that is timed."""
        timed = count == max(self.counts) and draw == 0
        settings = self.fit if timed else self.unchecked
        return SeedFit(world.generator, self.seeds(world, count, draw), settings, self.fit_kinds, self.upsampling)

    @property
    def unchecked(self) -> FitSettings:
        """Those of the fit, without cross-validation."""
        return replace(self.fit, folds=0)

    def annotator(self, world: World) -> Annotator:
        """Who labels images for the DatasetGAN source."""
        return Annotator(self.annotated, self.annotator_budget, self.test_set(world))

    def sampled(self, fit: SeedFit | AnnotatedFit, draw: int) -> DataSet:
        """A data set of a labeler."""
        return DataSet(fit, replace(self.sampling, job_seed=draw))

    def trial(self, world: World, kind: Kind, source: Source, count: int, draw: int) -> Trial:
        """The network of this place in the tables."""

        def of(images: Renders | DataSet | AnnotatedData, seeds: int = count) -> Trial:
            return Trial(kind, source, seeds, draw, images, self.test_set(world), self.budget)

        seeds, data = self.seeds(world, count, draw), self.sampled(self.seed_fit(world, count, draw), draw)
        if source == "seeds":
            return of(seeds)
        if source == "handsoff":
            return of(data)
        if source == "handsoff_plus_seeds":
            return replace(of(data), extra=seeds, seeds_shares=self.seeds_shares)
        if source == "datasetgan":
            baseline = replace(self.unchecked, members=BASELINE_MEMBERS)
            return of(self.sampled(AnnotatedFit(world.generator, self.annotator(world), count, draw, baseline), draw))
        if source in ("annotated", "annotated_plus_seeds"):
            annotated = AnnotatedData(world.generator, self.annotator(world), self.sampling.count, draw)
            if source == "annotated":
                return of(annotated, 0)
            return replace(of(annotated), extra=seeds, seeds_shares=self.seeds_shares)
        return of(Renders(world.bears, FULL_SEED, self.full), 0)

    def trials(self, world: World) -> list[Trial]:
        """All of them, those of one draw side by side, so that few data sets are kept at once."""
        return [trial for draw in range(self.draws) for trial in self._of_draw(world, draw)]

    def _of_draw(self, world: World, draw: int) -> list[Trial]:
        most = max(self.counts)
        found: list[Trial] = []
        for count in sorted(self.counts, reverse=True):
            for source in ("handsoff", "handsoff_plus_seeds", "seeds"):
                kinds = ("segmentation", *self.others) if count == most else ("segmentation",)
                found += [self.trial(world, kind, source, count, draw) for kind in kinds]
            found.append(self.trial(world, "segmentation", "datasetgan", count, draw))
        found += [self.trial(world, "segmentation", "annotated_plus_seeds", count, draw) for count in self.counts]
        found.append(self.trial(world, "segmentation", "annotated", 0, draw))
        return found + [self.trial(world, kind, "full", 0, draw) for kind in ("segmentation", *self.others)]


FULL = Plan()

QUICK = Plan(
    draws=1,
    budget=Budget(steps=400, batch=16),
    full=2_000,
    annotated=2_000,
    annotator_budget=Budget(steps=700, batch=16),
    test=300,
    sampling=Sampling(count=1_000),
    others=(),
)


def first_steps(trials: Sequence[Trial]) -> list[Annotator]:
    """What many trials wait for."""
    images = [trial.images for trial in trials]
    made = [each.fit if isinstance(each, DataSet) else each for each in images]
    return list(dict.fromkeys(each.annotator for each in made if isinstance(each, (AnnotatedFit, AnnotatedData))))
