"""The body of a training: a zip of unlabeled images becomes a generator in the store."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rq import get_current_job

from models.bundle import load_generator
from models.training.folder_lock import FolderBusy
from models.training.images import TooFewImages
from models.training.job import StopTraining, TrainingOptions, train_generator
from models.training.settings import TrainingPlan, plan_for
from models.training.sources import SourceRefused
from models.training.trainer import TrainingProgress
from service.generators import find_generator
from service.records import Phase, preview_key
from service.requests import TrainRequest
from workers.generator_uploads import drop_forgotten_uploads, fetch_upload, run_upload_body
from workers.local_generators import WEIGHTS, local_generator
from workers.outages import OUTAGES
from workers.public_errors import JobFailure, public_error
from workers.publish import CPU
from workers.throttle import Throttle
from workers.training_end import drop_forgotten_runs, keep_best, notes_of, publish_run, too_few
from workers.training_files import drop_run, fetch_run, save_run, training_folder
from workers.training_sheet import progression
from workers.training_starts import Starts
from workers.workbench import PROGRESS_INTERVAL_S, Cancelled, Workbench, log

SAVE_EVERY_S = 600.0
"""A machine that is lost costs no more training than this."""

_SHARE_OF_TIME = 0.97
"""Of the time limit; what is left is for publishing what was reached."""

RETRY_AFTER_S = 10.0
"""A training that lacks its folder waits this long before it is put back into the queue."""


def run(job_id: str) -> None:
    """Train a generator on the zip of images that the job names."""
    run_upload_body(job_id, train, keep_best)


def train(bench: Workbench) -> None:
    """What `run` does, at a given workbench. Raises `Cancelled`, and whatever goes wrong.

    Called again after a kill, it goes on from the last checkpoint. If it raises, `keep_best` publishes what there is.
    """
    try:
        _make(bench)
    except FolderBusy:
        time.sleep(RETRY_AFTER_S)
        message = "The worker that had this training before has not let go of it yet. Send the request again."
        raise JobFailure("training-busy", message, retry=True) from None


def _make(bench: Workbench) -> None:
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
    starts = Starts(folder)
    starts.count(fetch_run(bench.store, bench.job_id, folder))
    try:
        with _start(bench, request) as start:
            _go_on(bench, request, folder, start)
    except Cancelled:
        raise
    except (*OUTAGES, FolderBusy):
        starts.forgive()
        raise
    except Exception as failure:
        starts.blame(public_error(failure))
        raise


@contextmanager
def _start(bench: Workbench, request: TrainRequest) -> Iterator[Path | None]:
    """The folder of the generator to start from, which stays until its files have been read, if there is any."""
    if request.start is None:
        yield None
        return
    record = find_generator(bench.store, request.start)
    if record is None:
        raise JobFailure("generator-missing", f"Generator {request.start}, to start from, is not in the store.")
    with local_generator(bench.store, record, bench.generator_cache) as folder:
        yield folder


def _time_limit(bench: Workbench) -> float:
    """Seconds that the queue lets this part run: by the settings of whoever put it there, not by ours."""
    part = get_current_job()
    return bench.settings.train_timeout_s if part is None or part.timeout is None else float(part.timeout)


def _go_on(bench: Workbench, request: TrainRequest, folder: Path, start: Path | None) -> None:
    """Train from where the folder is, or from the generator of the folder `start`, and publish the best generator."""
    plan = _plan(request, start)
    images = folder / "images.zip"
    bench.ledger.enter_phase(bench.job_id, Phase.TRAIN, plan.images)
    fetch_upload(bench, request.sha256, images, _told(bench, "fetch images"))
    watch = _Watch(bench, folder, plan, time.monotonic() + _SHARE_OF_TIME * _time_limit(bench))
    options = TrainingOptions(
        start=start,
        fit=request.fit,
        patience=request.patience,
        features_weights=bench.settings.inception_weights,
        source=f"{request.name}, SHA-256 {request.sha256}",
    )
    try:
        outcome = train_generator(images, folder, plan, watch.report, options, watch.prepare, bench.settings.device)
    except StopTraining:  # while the images were being prepared
        bench.stop_if_cancelled()
        message = "The images could not be prepared within LABELMINT_TRAIN_TIMEOUT_S. Raise it, or send fewer images."
        raise JobFailure("timeout", message) from None
    except TooFewImages as refusal:
        raise JobFailure("bad-images", too_few(refusal.report)) from refusal
    except SourceRefused as refusal:
        raise JobFailure("bad-images", f"{_without(folder, refusal)}.") from refusal
    except FolderBusy:
        raise
    except ValueError as refusal:
        raise JobFailure("training-refused", f"{_without(folder, refusal)}.") from refusal
    if outcome.ended == "stopped":
        bench.stop_if_cancelled()
    with _bearing_outages("the last sheet"):
        watch.draw()
    publish_run(bench, request, folder)
    for note in notes_of(outcome):
        bench.ledger.note(bench.job_id, note)


def _plan(request: TrainRequest, start: Path | None) -> TrainingPlan:
    """What to train."""
    plan = plan_for(request.resolution)
    if start is not None:
        plan = replace(plan, architecture=load_generator(start / WEIGHTS, CPU).architecture)
    settings = replace(plan.settings, mirror=request.mirror, augment=request.augment, seed=request.seed)
    if request.augment_p is not None:
        settings = replace(settings, augment_p=request.augment_p)
    images = plan.images if request.kimg is None else max(1, round(1000 * request.kimg))
    return replace(plan, settings=settings, images=images)


@dataclass
class _Watch:
    """Passes the training's progress on, keeps it safe, and stops it in order.

    The training itself needs neither the store nor Redis: while one is out, it goes on and tells of itself later.
    """

    bench: Workbench
    folder: Path
    plan: TrainingPlan
    deadline: float

    def __post_init__(self) -> None:
        self._reporting, self._saving = Throttle(PROGRESS_INTERVAL_S), Throttle(SAVE_EVERY_S)
        self._saving.due()
        self._unsaved = False
        self._counting = False
        self._drawn = 0

    def prepare(self, stage: str, done: int, total: int) -> None:
        """For the time before the training. Raises `StopTraining`."""
        if self._reporting.due() or done == total:
            self._stop_if_asked()
            with _bearing_outages("progress"):
                self.bench.ledger.tell(self.bench.job_id, {"step": stage, "done": done, "total": total})

    def report(self, progress: TrainingProgress) -> None:
        """For the training. Raises `StopTraining`."""
        if not self._reporting.due() and progress.images < progress.target:
            return
        self._stop_if_asked()
        with _bearing_outages("progress"):
            self.bench.ledger.advance(self.bench.job_id, progress.images)
            if not self._counting:  # until here images were fetched and prepared, and others shown in an earlier run
                self.bench.ledger.count_from_here(self.bench.job_id)
                self._counting = True
            self.bench.ledger.tell(self.bench.job_id, _details(progress))
        with _bearing_outages("a sheet"):
            self.draw()
        self._unsaved = self._unsaved or self._saving.due()
        if self._unsaved:
            with _bearing_outages("the run"):
                save_run(self.bench.store, self.bench.job_id, self.folder, progress.images)
                self._unsaved = False

    def draw(self) -> None:
        """Show the snapshots there are, if there is a new one."""
        sheets = sorted((self.folder / "sheets").glob("*.png"))
        if len(sheets) > self._drawn:
            picture = progression(sheets, self.plan.architecture.resolution)
            self.bench.store.put(preview_key(self.bench.job), picture)
            self._drawn = len(sheets)

    def _stop_if_asked(self) -> None:
        if time.monotonic() > self.deadline:
            raise StopTraining
        with _bearing_outages("a look for a cancellation"):
            if self.bench.ledger.is_cancelling(self.bench.job_id):
                raise StopTraining


@contextmanager
def _bearing_outages(what: str) -> Iterator[None]:
    """Log that the store or Redis cannot be reached, and go on: it is tried again at the next report."""
    try:
        yield
    except OUTAGES as outage:
        log.warning("put off while a service is out", what=what, reason=str(outage))


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
