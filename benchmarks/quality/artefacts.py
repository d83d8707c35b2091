"""What networks are trained on and tested on, kept on disk so that nothing is made twice."""

from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from benchmarks.quality.data import FULL_SEED, LabeledImages, joined, rendered
from benchmarks.quality.nets import KINDS, Kind, TaskNet
from benchmarks.quality.scoring import predict, score
from benchmarks.quality.sources import Fitted, Sampling, fit_codes, fit_seeds, generated, random_images
from benchmarks.quality.steps import Facts, Place, Report, Step, hash_of
from benchmarks.quality.training import Budget, TrainedNet, train_net
from benchmarks.quality.upsampling import Upsampling, upsampling
from models.bears import DOMAINS, Domain
from models.bundle import GeneratorBundle, load_bundle
from models.checkpoint import load_tensors, save_tensors
from models.fitting import FitSettings, StackedLabels
from models.inversion.perceptual import PerceptualDistance
from models.labeler import Labeler

PART = 2_500
"""Renders kept in one folder, so that several processes make many of them together."""

FEW = 200
"""So many renders are not kept, but drawn whenever they are read."""

ANNOTATED_SEED = 900_000
"""Random images for someone to annotate, of the first draw; data sets are drawn with other numbers."""

COLUMNS: dict[Kind, str] = {
    "segmentation": "masks",
    "keypoints": "keypoints",
    "depth": "depth",
    "class": "attributes",
}
"""The field of `StackedLabels` of each kind."""


@dataclass(frozen=True)
class Bears:
    """What is drawn. name: of the domain. drawn: digest of what the renderer makes of it. side: in pixels."""

    name: str
    drawn: str
    side: int

    @property
    def domain(self) -> Domain:
        """What is drawn, with what it is called."""
        return DOMAINS[self.name]

    @staticmethod
    def of(domain: Domain, side: int) -> "Bears":
        """The bears of a domain as they are drawn now."""
        probe = domain.render(range(3), side)
        drawn = (probe.images, probe.parts, probe.keypoints, probe.depth, probe.species)
        return Bears(domain.name, hash_of(*(array.tobytes() for array in drawn)), side)


@dataclass(frozen=True)
class World:
    """What steps depend on beside their settings. generator: digest of its files; what is learnt from renders alone
    does not depend on it."""

    generator: str
    bears: Bears

    @staticmethod
    def of(generator: Path, domain: Domain) -> "World":
        """Raises `CheckpointError` where the folder holds no generator."""
        side = bundle_of(generator).resolution
        files = sorted(generator.glob("*.safetensors"))
        digest = hash_of(*(part for path in files for part in (path.name.encode(), path.read_bytes())))
        return World(digest, Bears.of(domain, side))


@lru_cache(maxsize=1)
def bundle_of(folder: Path) -> GeneratorBundle:
    """The generator of a folder, read once in a process."""
    return load_bundle(folder, torch.device("cpu"))


def save_images(folder: Path, data: LabeledImages) -> None:
    """Write images and labels as NPY files of a folder."""
    np.save(folder / "images.npy", data.images)
    for name in COLUMNS.values():
        if (values := getattr(data.labels, name)) is not None:
            np.save(folder / f"{name}.npy", values)


def load_images(folder: Path, kinds: tuple[Kind, ...]) -> LabeledImages:
    """What `save_images` wrote, with the labels of these kinds alone."""
    labels = {name: np.load(folder / f"{name}.npy") if kind in kinds else None for kind, name in COLUMNS.items()}
    return LabeledImages(np.load(folder / "images.npy"), StackedLabels(**labels))


def only(labels: StackedLabels, kinds: tuple[Kind, ...]) -> StackedLabels:
    """The labels of these kinds."""
    return replace(labels, **{name: None for kind, name in COLUMNS.items() if kind not in kinds})


@dataclass(frozen=True)
class RenderPart(Step):
    """A run of bears with exact labels of every kind."""

    bears: Bears
    start: int
    count: int

    @property
    def title(self) -> str:
        """See `Step`."""
        return f"render {self.count} bears from {self.start}"

    def make(self, place: Place, report: Report) -> Facts:
        """Render them, some at a time."""
        parts = []
        for start in range(0, self.count, 50):
            end = min(start + 50, self.count)
            parts.append(rendered(range(self.start + start, self.start + end), self.bears.side, self.bears.domain))
            report(end, self.count)
        place.fill(self, lambda folder: save_images(folder, joined(*parts)))
        return {}


@dataclass(frozen=True)
class Renders:
    """Bears with exact labels, from the one with seed `start`."""

    bears: Bears
    start: int
    count: int

    @property
    def needs(self) -> tuple[Step, ...]:
        """The parts that are kept of them; none for a few."""
        if self.count <= FEW:
            return ()
        starts = range(0, self.count, PART)
        return tuple(RenderPart(self.bears, self.start + at, min(PART, self.count - at)) for at in starts)

    def load(self, place: Place, kinds: tuple[Kind, ...]) -> LabeledImages:
        """Them, with the labels of these kinds."""
        if not self.needs:
            few = rendered(range(self.start, self.start + self.count), self.bears.side, self.bears.domain)
            return LabeledImages(few.images, only(few.labels, kinds))
        return joined(*(load_images(place.folder(part), kinds) for part in self.needs))


@dataclass(frozen=True)
class Annotator(Step):
    """A network for segmentation that stands in for a person: it learns from many exact renders."""

    renders: int
    budget: Budget
    test: Renders

    @property
    def title(self) -> str:
        """See `Step`."""
        return f"annotator, from {self.renders} renders"

    @property
    def lessons(self) -> Renders:
        """What it learns from."""
        return Renders(self.test.bears, FULL_SEED, self.renders)

    @property
    def needs(self) -> tuple[Step, ...]:
        """See `Step`."""
        return (*self.lessons.needs, *self.test.needs)

    def make(self, place: Place, report: Report) -> Facts:
        """Train it; says how right it is on the test renders."""
        parts = self.test.bears.domain.parts
        kinds: tuple[Kind, ...] = ("segmentation",)
        trained = train_net(
            "segmentation",
            self.lessons.load(place, kinds),
            len(parts),
            self.budget,
            0,
            lambda step, _: report(step, self.budget.steps),
        )
        facts = score(trained, self.test.load(place, kinds), parts)
        state = trained.net.state_dict()
        place.fill(self, lambda folder: save_tensors(folder / "net.safetensors", state, "annotator", {}))
        return facts | {"train_s": trained.seconds}

    def annotate(self, place: Place, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> StackedLabels:
        """Masks of images uint8 (N, R, R, 3)."""
        net = TaskNet("segmentation", len(self.test.bears.domain.parts)).to(memory_format=torch.channels_last)
        net.load_state_dict(load_tensors(place.folder(self) / "net.safetensors", "annotator")[0])
        return predict(TrainedNet(net.eval(), 0.0, 1.0, 0.0, 0.0), images)


@dataclass(frozen=True)
class SeedFit(Step):
    """A labeler as the service fits it: from a few seeds, inverted. generator: its digest. kinds: of labels that the
    project has."""

    generator: str
    seeds: Renders
    settings: FitSettings = field(default_factory=FitSettings)
    kinds: tuple[Kind, ...] = KINDS
    upsampling: Upsampling = "bilinear"

    @property
    def title(self) -> str:
        """See `Step`."""
        return f"fit {self.seeds.count} seeds from {self.seeds.start}"

    def make(self, place: Place, report: Report) -> Facts:
        """Invert and fit; says how well, and how long it took on how many threads."""
        bundle, settings = bundle_of(place.generator), self.settings
        with upsampling(self.upsampling):
            seeds = self.seeds.load(place, self.kinds)
            fitted = fit_seeds(bundle, seeds, self.seeds.bears.domain, settings, report)
        found = fitted.inversions
        assert found is not None
        _keep(self, place, fitted)
        return {
            "psnr_db": float(found.psnr_db.mean()),
            "lpips": float(found.lpips.mean()),
            "perceptual": PerceptualDistance(settings.lpips_backbone, settings.lpips_weights).source,
            "left_out": int((found.psnr_db < settings.min_psnr_db).sum()),
            "invert_s": fitted.invert_s,
            "fit_s": fitted.fit_s,
            "threads": torch.get_num_threads(),
        }


@dataclass(frozen=True)
class AnnotatedFit(Step):
    """A labeler as DatasetGAN fits it (Zhang et al., 2021): from random generated images that someone annotates."""

    generator: str
    annotator: Annotator
    count: int
    draw: int
    settings: FitSettings = field(default_factory=FitSettings)

    @property
    def title(self) -> str:
        """See `Step`."""
        return f"fit {self.count} annotated images, draw {self.draw}"

    @property
    def needs(self) -> tuple[Step, ...]:
        """See `Step`."""
        return (self.annotator,)

    def make(self, place: Place, report: Report) -> Facts:
        """Draw, annotate and fit."""
        bundle = bundle_of(place.generator)
        codes, images = random_images(bundle, self.count, ANNOTATED_SEED + self.draw)
        labels = self.annotator.annotate(place, images)
        fitted = fit_codes(bundle, codes, labels, self.annotator.test.bears.domain, self.settings, report)
        _keep(self, place, fitted)
        return {"fit_s": fitted.fit_s, "threads": torch.get_num_threads()}


@dataclass(frozen=True)
class AnnotatedData(Step):
    """Random generated images, every one of them labeled by the annotator."""

    BULKY = True

    generator: str
    annotator: Annotator
    count: int
    draw: int

    @property
    def title(self) -> str:
        """See `Step`."""
        return f"annotate {self.count} images, draw {self.draw}"

    @property
    def needs(self) -> tuple[Step, ...]:
        """See `Step`."""
        return (self.annotator,)

    def make(self, place: Place, report: Report) -> Facts:
        """Draw and annotate, some at a time."""
        bundle, parts = bundle_of(place.generator), []
        for start in range(0, self.count, FEW):
            many = min(FEW, self.count - start)
            _, images = random_images(bundle, many, ANNOTATED_SEED + self.draw, start)
            parts.append(LabeledImages(images, self.annotator.annotate(place, images)))
            report(start + many, self.count)
        place.fill(self, lambda folder: save_images(folder, joined(*parts)))
        return {}

    def load(self, place: Place, kinds: tuple[Kind, ...]) -> LabeledImages:
        """Them; there are only masks."""
        return load_images(place.folder(self), kinds)


def _keep(fit: Step, place: Place, fitted: Fitted) -> None:
    place.fill(fit, lambda folder: fitted.labeler.save(folder / "labeler.safetensors"))


@dataclass(frozen=True)
class DataSet(Step):
    """Generated images with their labels, as a job of the service makes them."""

    BULKY = True

    fit: SeedFit | AnnotatedFit
    sampling: Sampling

    @property
    def title(self) -> str:
        """See `Step`."""
        return f"{self.sampling.count} samples of: {self.fit.title}"

    @property
    def needs(self) -> tuple[Step, ...]:
        """See `Step`."""
        return (self.fit,)

    def make(self, place: Place, report: Report) -> Facts:
        """Generate them."""
        labeler = Labeler.load(place.folder(self.fit) / "labeler.safetensors", torch.device("cpu"))
        with upsampling(self.fit.upsampling if isinstance(self.fit, SeedFit) else "bilinear"):
            data = generated(
                bundle_of(place.generator), labeler, self.sampling, lambda done: report(done, self.sampling.count)
            )
        place.fill(self, lambda folder: save_images(folder, data))
        return asdict(self.sampling)

    def load(self, place: Place, kinds: tuple[Kind, ...]) -> LabeledImages:
        """Them, with the labels of these kinds."""
        return load_images(place.folder(self), kinds)
