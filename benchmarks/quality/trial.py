"""One network, trained on one source for one label kind, and what the test renders say of it."""

from dataclasses import dataclass
from typing import Literal, get_args

from benchmarks.quality.artefacts import AnnotatedData, DataSet, Renders
from benchmarks.quality.data import LabeledImages
from benchmarks.quality.nets import Kind
from benchmarks.quality.scoring import score
from benchmarks.quality.steps import Facts, Place, Report, Step
from benchmarks.quality.training import Budget, Mixture, train_net
from models.bears import SPECIES

Source = Literal["seeds", "handsoff", "handsoff_plus_seeds", "datasetgan", "annotated_plus_seeds", "annotated", "full"]
SOURCES: tuple[Source, ...] = get_args(Source)
SEEDLESS: tuple[Source, ...] = ("annotated", "full")
"""These know no seeds: the same network stands for every number of them."""


@dataclass(frozen=True)
class Trial(Step):
    """source, seeds, draw: what it stands for in tables; seeds is 0 for the seedless. images: to learn from. extra:
    seeds that take such a share of every batch as `Mixture` has it, or None. draw also seeds the network."""

    KEEPS = False

    kind: Kind
    source: Source
    seeds: int
    draw: int
    images: Renders | DataSet | AnnotatedData
    test: Renders
    budget: Budget
    extra: Renders | None = None
    seeds_shares: tuple[float, float] = (0.0, 0.0)

    @property
    def title(self) -> str:
        """See `Step`."""
        seeds = f" {self.seeds} seeds" if self.seeds else ""
        return f"{self.kind}, {self.source}{seeds}, draw {self.draw}"

    @property
    def needs(self) -> tuple[Step, ...]:
        """See `Step`."""
        images = self.images.needs if isinstance(self.images, Renders) else (self.images,)
        return (*images, *self.test.needs)

    def make(self, place: Place, report: Report) -> Facts:
        """Train and test; the figures of `score`, the last loss and the time it took."""
        kinds = (self.kind,)
        source: LabeledImages | Mixture = self.images.load(place, kinds)
        if self.extra is not None:
            assert isinstance(source, LabeledImages)
            source = Mixture(source, self.extra.load(place, kinds), self.seeds_shares)
        parts = self.test.bears.domain.parts
        classes = len(SPECIES) if self.kind == "class" else len(parts)
        trained = train_net(
            self.kind, source, classes, self.budget, self.draw, lambda step, _: report(step, self.budget.steps)
        )
        facts = score(trained, self.test.load(place, kinds), parts)
        return facts | {"loss": trained.loss, "train_s": trained.seconds}
