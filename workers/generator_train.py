"""The body of a training: a zip of unlabeled images becomes a generator in the store."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.bundle import load_generator
from models.device import choose_device
from models.training.images import PreparationReport, TooFewImages
from models.training.job import StopTraining, TrainingOptions, TrainingOutcome, train_generator
from models.training.settings import TrainingPlan, plan_for
from models.training.sources import SourceRefused
from models.training.trainer import TrainingProgress
from service.generators import find_generator, training_of
from service.records import Phase, preview_key
from service.requests import TrainRequest
from workers.generator_uploads import drop_forgotten_uploads, fetch_upload, run_upload_body
from workers.local_generators import WEIGHTS, fetch_generator
from workers.public_errors import JobFailure
from workers.publish import CPU, publish_generator
from workers.throttle import Throttle
from workers.training_files import drop_forgotten_runs, drop_run, fetch_run, save_run, training_folder
from workers.training_sheet import progression
from workers.workbench import PROGRESS_INTERVAL_S, Cancelled, Workbench

SAVE_EVERY_S = 600.0
"""A machine that is lost costs no more training than this."""

_SHARE_OF_TIME = 0.97
"""Of the time limit; what is left is for publishing what was reached."""

_REFUSED_SHOWN = 10


def run(job_id: str) -> None:
    """Train a generator on the zip of images that the job names."""
    run_upload_body(job_id, train)


def train(bench: Workbench) -> None:
    """What `run` does, at a given workbench. Raises `Cancelled`, and whatever goes wrong.

    Called again after a kill, it goes on from the last checkpoint. A cancelled training publishes its best snapshot.
    """
    if not bench.ledger.start(bench.job_id):
        raise Cancelled
    request = bench.job.request
    assert isinstance(request, TrainRequest)  # noqa: S101
    drop_forgotten_uploads(bench)
    drop_forgotten_runs(bench)
    known = find_generator(bench.store, request.generator_id)
    if known is not None and known.upload_sha256 != request.sha256:
        message = f"There is another generator called {known.id} by now. Send the images again with another `id`."
        raise JobFailure("generator-id-taken", message)
    if known is None:
        _train(bench, request)
    drop_run(bench)
    bench.ledger.succeed(bench.job_id, {})


def _train(bench: Workbench, request: TrainRequest) -> None:
    folder = training_folder(bench)
    fetch_run(bench.store, bench.job_id, folder)
    plan, start = _plan(bench, request)
    images = folder / "images.zip"
    bench.ledger.enter_phase(bench.job_id, Phase.TRAIN, plan.images)
    fetch_upload(bench, request.sha256, images, _told(bench, "fetch images"))
    watch = _Watch(bench, folder, plan, time.monotonic() + _SHARE_OF_TIME * bench.settings.train_timeout_s)
    options = TrainingOptions(start=start, source=f"{request.name}, SHA-256 {request.sha256}")
    try:
        outcome = train_generator(images, folder, plan, watch.report, options, watch.prepare, bench.settings.device)
    except StopTraining:
        raise Cancelled from None  # while the images were being prepared
    except TooFewImages as refusal:
        raise JobFailure("bad-images", _too_few(refusal.report)) from refusal
    except SourceRefused as refusal:
        raise JobFailure("bad-images", f"{_without(folder, refusal)}.") from refusal
    except ValueError as refusal:
        raise JobFailure("training-refused", f"{_without(folder, refusal)}.") from refusal
    watch.draw()
    _conclude(bench, request, outcome)


def _plan(bench: Workbench, request: TrainRequest) -> tuple[TrainingPlan, Path | None]:
    """What to train, and the folder of the generator to start from."""
    plan, start = plan_for(request.resolution), None
    if request.start is not None:
        record = find_generator(bench.store, request.start)
        if record is None:
            raise JobFailure("generator-missing", f"Generator {request.start}, to start from, is not in the store.")
        start = fetch_generator(bench.store, record, bench.generator_cache)
        plan = replace(plan, architecture=load_generator(start / WEIGHTS, CPU).architecture)
    settings = replace(plan.settings, mirror=request.mirror, seed=request.seed)
    return replace(plan, settings=settings, images=max(1, round(1000 * request.kimg))), start


@dataclass
class _Watch:
    """Passes the training's progress on, keeps it safe, and stops it in order."""

    bench: Workbench
    folder: Path
    plan: TrainingPlan
    deadline: float

    def __post_init__(self) -> None:
        self._reporting, self._saving = Throttle(PROGRESS_INTERVAL_S), Throttle(SAVE_EVERY_S)
        self._saving.due()
        self._drawn = 0

    def prepare(self, stage: str, done: int, total: int) -> None:
        """For the time before the training. Raises `StopTraining`."""
        if self._reporting.due() or done == total:
            self._stop_if_asked()
            self.bench.ledger.tell(self.bench.job_id, {"step": stage, "done": done, "total": total})

    def report(self, progress: TrainingProgress) -> None:
        """For the training. Raises `StopTraining`."""
        if not self._reporting.due() and progress.images < progress.target:
            return
        self._stop_if_asked()
        self.bench.ledger.advance(self.bench.job_id, progress.images)
        self.bench.ledger.tell(self.bench.job_id, _details(progress))
        self.draw()
        if self._saving.due():
            save_run(self.bench.store, self.bench.job_id, self.folder, progress.images)

    def draw(self) -> None:
        """Show the snapshots there are, if there is a new one."""
        sheets = sorted((self.folder / "sheets").glob("*.png"))
        if len(sheets) > self._drawn:
            self._drawn = len(sheets)
            picture = progression(sheets, self.plan.architecture.resolution)
            self.bench.store.put(preview_key(self.bench.job), picture)

    def _stop_if_asked(self) -> None:
        if self.bench.ledger.is_cancelling(self.bench.job_id) or time.monotonic() > self.deadline:
            raise StopTraining


def _conclude(bench: Workbench, request: TrainRequest, outcome: TrainingOutcome) -> None:
    """Publish the best generator, and end a cancelled job. Raises `Cancelled` then."""
    cancelled = outcome.ended == "stopped" and bench.ledger.is_cancelling(bench.job_id)
    if cancelled and outcome.best is None:
        bench.ledger.note(bench.job_id, "Nothing was kept: there was no snapshot yet when the training was cancelled.")
    else:
        publish_generator(
            bench.store,
            outcome.folder,
            request.generator_id,
            request.name,
            "trained",
            upload_sha256=request.sha256,
            facts={"training_request": training_of(request)},
            device=choose_device(bench.settings.device),
        )
        for note in _notes(outcome, cancelled):
            bench.ledger.note(bench.job_id, note)
    if cancelled:
        drop_run(bench)
        raise Cancelled


def _notes(outcome: TrainingOutcome, cancelled: bool) -> list[str]:
    notes = []
    if cancelled:
        notes.append(f"Cancelled after {outcome.images_shown} images; its best snapshot was kept as the generator.")
    elif outcome.ended == "stopped":
        notes.append(f"Stopped at its time limit, after {outcome.images_shown} images; the best snapshot was kept.")
    elif outcome.ended == "early-stop":
        notes.append(f"Stopped after {outcome.images_shown} images: it did not get better any more.")
    if outcome.best is not None:
        best = outcome.best
        notes.append(
            f"The generator is that of {outcome.best_images} images shown: Fréchet distance {best.frechet:.4g}, kernel "
            f"distance {best.kernel:.3g} to the training images, by {best.features} over {best.samples} samples."
        )
    if outcome.report is not None and outcome.report.rejected_count:
        notes.append(f"{outcome.report.rejected_count} files were left out. {_refused(outcome.report)}")
    if outcome.report is not None and outcome.report.duplicate_count:
        notes.append(f"{outcome.report.duplicate_count} images that repeat others were left out.")
    return notes


def _too_few(report: PreparationReport) -> str:
    counts = f"Of {report.files} images in the zip {report.images} can be trained on, which are too few."
    return f"{counts} {_refused(report)}" if report.rejected else f"{counts} Send more of them."


def _refused(report: PreparationReport) -> str:
    first = [str(rejection) for rejection in report.rejected[:_REFUSED_SHOWN]]
    more = report.rejected_count - len(first)
    return " | ".join(first) + (f" | and {more} more." if more else ".")


def _details(progress: TrainingProgress) -> dict[str, float | str]:
    figures = {
        "images_per_s": progress.images_per_s,
        "p": progress.p,
        "distance": progress.distance,
        "real_logit": progress.real,
        "fake_logit": progress.fake,
        "training_eta_s": progress.eta_s,
    }
    details: dict[str, Any] = {name: value for name, value in figures.items() if math.isfinite(value)}
    return details | ({"features": progress.features} if progress.features else {})


def _told(bench: Workbench, step: str) -> Callable[[int], None]:
    """Tells of the bytes of a step."""
    return bench.progress(lambda done: bench.ledger.tell(bench.job_id, {"step": step, "done": done}), 0)


def _without(folder: Path, refusal: ValueError) -> str:
    """The refusal in words that do not tell where this machine keeps its files."""
    return str(refusal).replace(f"{folder}/", "")
