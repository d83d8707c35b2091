"""How a training ends: what is published of its run, what is told about it, and when the run is dropped."""

from dataclasses import replace
from pathlib import Path

from models.device import choose_device
from models.distances.statistics import Distance
from models.training.images import MINIMUM, PreparationReport
from models.training.job import TrainingOutcome
from models.training.snapshots import Evaluation, Snapshots
from service.generators import find_generator, training_of, unfinished_jobs
from service.job_reader import JobMissing
from service.printed import shortened_text
from service.records import JobRecord, JobState, training_key
from service.requests import TrainRequest
from workers.local_generators import WEIGHTS
from workers.outages import OUTAGES
from workers.publish import publish_generator
from workers.training_files import drop_run, fetch_run, known_runs, training_folder
from workers.workbench import Workbench, log

_REFUSED_SHOWN = 10
_LONGEST_REFUSAL = 300


def publish_run(bench: Workbench, request: TrainRequest, folder: Path) -> None:
    """Make the best generator in the run's folder the one that the job was asked for."""
    publish_generator(
        bench.store,
        folder,
        request.generator_id,
        request.name,
        "trained",
        upload_sha256=request.sha256,
        facts={"training_request": training_of(request)},
        device=choose_device(bench.settings.device),
    )


def keep_best(bench: Workbench) -> None:
    """Before a training ends as cancelled or failed: publish its best snapshot, say so, and drop the run.

    Called again after a kill, it does what is left to do. If it raises, the run is still there.
    """
    cancelled = bench.ledger.is_cancelling(bench.job_id)
    found = _publish_best(bench)
    if found is not None:
        shown, best = found
        how = "Cancelled" if cancelled else "The training failed"
        bench.ledger.note(bench.job_id, f"{how} after {shown} images; its best snapshot was kept as the generator.")
        bench.ledger.note(bench.job_id, _of_the_best(best.distance, best.images))
    elif cancelled:
        bench.ledger.note(bench.job_id, "Nothing was kept: there was no snapshot yet when the training was cancelled.")
    drop_run(bench)


def _publish_best(bench: Workbench) -> tuple[int, Evaluation] | None:
    """The images shown in all, and the best evaluation, whose generator is in the store now; None without any."""
    request = bench.job.request
    assert isinstance(request, TrainRequest)  # noqa: S101
    folder = training_folder(bench)
    shown = fetch_run(bench.store, bench.job_id, folder)
    features = Snapshots.features_of(folder)
    best = Snapshots(folder, features).best if features else None
    if best is None or not (folder / WEIGHTS).exists():
        return None
    known = find_generator(bench.store, request.generator_id)
    if known is not None and known.upload_sha256 != request.sha256:
        return None
    if known is None:
        publish_run(bench, request, folder)
    return max(shown, best.images), best


def drop_forgotten_runs(bench: Workbench) -> None:
    """Remove the runs of jobs that ended without a worker that could have done so, here and in the store.

    What is still in the store of one that did not succeed was never published: its best snapshot is now, unless
    another job makes a generator of its id. A copy that is only here was left by a machine that did not end the job.
    """
    for job_id in known_runs(bench):
        job = _job(bench, job_id)
        if job is not None and not job.state.is_terminal:
            continue
        other = replace(bench, job_id=job_id)
        try:
            is_stored = any(bench.store.list(training_key(job_id, "")))
            if is_stored and job is not None and job.state is not JobState.SUCCEEDED:
                if any(job.generator_id == newer.generator_id for newer in unfinished_jobs(bench.ledger)):
                    continue
                _publish_best(other)
            drop_run(other)
        except OUTAGES:
            raise
        except Exception:  # noqa: BLE001 (it is another job's, and no reason to fail this one)
            log.exception("a forgotten training cannot be published", run=job_id)


def _job(bench: Workbench, job_id: str) -> JobRecord | None:
    try:
        return bench.ledger.get(job_id)
    except JobMissing:
        return None


def notes_of(outcome: TrainingOutcome) -> list[str]:
    """What the user should know of a training that was not cancelled."""
    notes = []
    if outcome.ended == "stopped":
        notes.append(f"Stopped at its time limit, after {outcome.images_shown} images; the best snapshot was kept.")
    elif outcome.ended == "early-stop":
        notes.append(f"Stopped after {outcome.images_shown} images: it did not get better any more.")
    if outcome.best is not None and outcome.best_images is not None:
        notes.append(_of_the_best(outcome.best, outcome.best_images))
    if outcome.unmeasured_by:
        notes.append(
            "At the end nothing was measured, and the best generator known was kept: the weights of "
            f"{outcome.unmeasured_by}, which the training began with, were not on the worker that ended it. Name a "
            "file with them in LABELMINT_INCEPTION_WEIGHTS on every worker."
        )
    if outcome.report is not None and outcome.report.rejected_count:
        notes.append(f"{outcome.report.rejected_count} files were left out. {_refused(outcome.report)}")
    if outcome.report is not None and outcome.report.duplicate_count:
        notes.append(f"{outcome.report.duplicate_count} images that repeat others were left out.")
    return notes


def too_few(report: PreparationReport) -> str:
    """Why there are not enough images to train on."""
    counts = f"Of {report.files} images in the zip {report.images} can be trained on, and {MINIMUM} are the least."
    if report.duplicate_count:
        counts += f" {report.duplicate_count} repeat others."
    return f"{counts} {_refused(report)}" if report.rejected else f"{counts} Send more of them."


def _of_the_best(distance: Distance, images: int) -> str:
    return (
        f"The generator is that of {images} images shown: Fréchet distance {distance.frechet:.4g}, kernel "
        f"distance {distance.kernel:.3g} to the training images, by {distance.features} over {distance.samples} "
        "samples."
    )


def _refused(report: PreparationReport) -> str:
    first = [shortened_text(str(rejection), _LONGEST_REFUSAL) for rejection in report.rejected[:_REFUSED_SHOWN]]
    more = report.rejected_count - len(first)
    return " | ".join(first) + (f" | and {more} more." if more else ".")
