"""Training from pictures to a published generator, in one call."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.device import choose_device
from models.distances.features import AUTO, choose_features
from models.distances.statistics import Distance
from models.training.checkpoints import has_checkpoint
from models.training.evaluation import Evaluator, default_samples
from models.training.folder_lock import only_one
from models.training.images import MINIMUM, Fit, PreparationReport, TrainingImages, prepare_images
from models.training.run import Run
from models.training.settings import TrainingPlan
from models.training.snapshots import Snapshots
from models.training.start import read_start
from models.training.trainer import Trainer, TrainingProgress

Stage = Literal["read images", "measure images"]


class StopTraining(Exception):
    """Raised by `report` to end a run in order: `train` then returns instead of raising."""


@dataclass(frozen=True)
class TrainingOptions:
    """Everything about a run but the network and its settings.

    fit: how pictures become squares, see `prepare_images`. minimum_images: fewer are refused. start: folder or file
    of a generator to begin with; ignored once there is a checkpoint. features: that distances compare; `auto` stays
    with what the run began with, and goes on unmeasured where that cannot be had. features_weights: Inception's,
    where they are not in torch's cache. samples: drawn at each evaluation; None means 2,000 on a CPU and 10,000 on a
    GPU. patience: stop after so many evaluations that are no better than the best; 0 never does. decay_images: over
    the last so many images the learning rate falls to a tenth. checkpoint_every_s: a kill costs no more than this.
    evaluation_share: of the training's time at most. command, source: for the provenance, as typed and in words.
    """

    fit: Fit = "crop"
    minimum_images: int = MINIMUM
    start: Path | None = None
    features: str = AUTO
    features_weights: Path | None = None
    samples: int | None = None
    patience: int = 10
    decay_images: int = 0
    checkpoint_every_s: float = 60.0
    evaluation_share: float = 0.1
    command: str = ""
    source: str = "images"


@dataclass(frozen=True)
class TrainingOutcome:
    """folder: holds `weights.safetensors`, the best generator of the run, and what `Run` says. best: its distance, None
    if none was measured. best_images, images_shown: shown until the best, and in all. ended: `done` at the target,
    `early-stop` when it did not get better any more, `stopped` when `report` raised `StopTraining`. report: of the
    preparation of the images. unmeasured_by: features that the run began with and that could not be had this time, so
    that nothing was measured; else None."""

    folder: Path
    best: Distance | None
    best_images: int | None
    images_shown: int
    ended: Literal["done", "early-stop", "stopped"]
    report: PreparationReport | None
    unmeasured_by: str | None = None


def train_generator(
    source: Path,
    folder: Path,
    plan: TrainingPlan,
    report: Callable[[TrainingProgress], None],
    options: TrainingOptions | None = None,
    prepare: Callable[[Stage, int, int], None] | None = None,
    device: str = "auto",
) -> TrainingOutcome:
    """Train on the pictures of a folder or zip; called again with the same folder, it goes on from its checkpoint.

    Args:
        source: see `prepare_images`, whose cache is `folder/images`.
        folder: of the run; created when missing.
        plan: from `plan_for`, changed at will. With `options.start` the architecture must be that generator's.
        report: called every few seconds while training, and between batches while evaluating. It may raise: then the
            checkpoint and the best generator so far are on disk before the exception goes on.
        prepare: called with what is being done before training, and how many images of how many; may raise likewise.

    Raises:
        ValueError: what is asked for cannot be done; the message says why, and what to do. `TooFewImages` names every
            picture that was refused, and `FolderBusy` says that another process trains in the folder.
        OSError: the folder cannot be written.
    """
    options = options or TrainingOptions()

    def images(cache: Path) -> TrainingImages:
        return prepare_images(
            source,
            plan.architecture.resolution,
            options.fit,
            cache,
            (lambda done, total: prepare("read images", done, total)) if prepare else None,
            options.minimum_images,
        )

    return train(images, folder, plan, report, options, prepare, device)


def train(
    images: Callable[[Path], TrainingImages],
    folder: Path,
    plan: TrainingPlan,
    report: Callable[[TrainingProgress], None],
    options: TrainingOptions,
    prepare: Callable[[Stage, int, int], None] | None = None,
    device: str = "auto",
) -> TrainingOutcome:
    """As `train_generator`, with images that `images` prepares in the folder it is given; no other process does
    meanwhile."""
    with only_one(folder):
        return _train(images(folder / "images"), folder, plan, report, options, prepare, device)


def _train(
    images: TrainingImages,
    folder: Path,
    plan: TrainingPlan,
    report: Callable[[TrainingProgress], None],
    options: TrainingOptions,
    prepare: Callable[[Stage, int, int], None] | None,
    device: str,
) -> TrainingOutcome:
    start = read_start(options.start) if options.start and not has_checkpoint(folder) else None
    trainer = Trainer(folder, plan.architecture, plan.settings, images.pixels, device, start)
    evaluator = _evaluator(images, folder, plan, options, prepare, device)
    latest: list[TrainingProgress] = []

    def pulse() -> None:
        if latest:
            report(latest[-1])

    run = Run(trainer, evaluator, options.command, options.source, options.patience, options.evaluation_share, pulse)

    def note(progress: TrainingProgress) -> None:
        latest[:] = [progress]
        run.log(progress)
        report(progress)

    stopped = False
    try:
        trainer.run(
            plan.images, note, options.checkpoint_every_s, run.snapshot, plan.snapshot_images, options.decay_images
        )
    except StopTraining:
        stopped = True
    finally:
        run.keep(trainer)
    best = run.snapshots.best
    return TrainingOutcome(
        folder=folder,
        best=best.distance if best else None,
        best_images=best.images if best else None,
        images_shown=trainer.shown,
        ended="stopped" if stopped else "early-stop" if run.stopped_early else "done",
        report=images.report,
        unmeasured_by=Snapshots.features_of(folder) if evaluator is None else None,
    )


def _evaluator(
    images: TrainingImages,
    folder: Path,
    plan: TrainingPlan,
    options: TrainingOptions,
    prepare: Callable[[Stage, int, int], None] | None,
    device: str,
) -> Evaluator | None:
    """None if it is the features that the run began with which cannot be had, here and now."""
    place = choose_device(device)
    began_with = Snapshots.features_of(folder)
    name = began_with if options.features == AUTO and began_with else options.features
    try:
        network = choose_features(name, options.features_weights, place)
    except ValueError:
        if options.features == AUTO and began_with:
            return None
        raise
    return Evaluator(
        network,
        images,
        plan.settings.mirror,
        options.samples or default_samples(place),
        (lambda done, total: prepare("measure images", done, total)) if prepare else None,
    )
