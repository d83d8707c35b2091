"""`labelmint generator train`: a generator from pictures without labels, or from toy bears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelmint.progress import bar, console, typed_command
from labelmint.stopping import STOPPED, StopRequest, stop_requests
from labelmint.user_error import UserError, refusals_as_errors, settings_or_error

if TYPE_CHECKING:
    from rich.progress import Progress

    from models.training.images import PreparationReport, TrainingImages
    from models.training.job import TrainingOptions, TrainingOutcome
    from models.training.settings import TrainingPlan
    from models.training.trainer import TrainingProgress


def train(
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoint, sample sheets, generator files")],
    images: Annotated[
        Path | None, typer.Option(help="Folder or zip of PNG, JPEG or WebP images to learn from, without labels")
    ] = None,
    bears: Annotated[int, typer.Option(min=0, help="Learn from this many toy bears instead of a folder")] = 0,
    dressed: Annotated[bool, typer.Option(help="With --bears: bears with hats, scarves, bow ties and balls")] = False,
    resolution: Annotated[
        int | None, typer.Option(help="Pixels a side: a power of two from 8 to 1024; 64 if not given")
    ] = None,
    fit: Annotated[str, typer.Option(help="How pictures become squares: crop, random-crop or stretch")] = "crop",
    mirror: Annotated[
        bool | None, typer.Option("--mirror/--no-mirror", help="Show mirrored images as well; with --bears it is on")
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="ada, fixed or none; if not given, ada for --images and none for --bears")
    ] = None,
    augment_p: Annotated[
        float | None, typer.Option(help="Probability of each augmentation: kept with fixed, the first one with ada")
    ] = None,
    ada_kimg: Annotated[
        float | None, typer.Option(help="ADA can go from 0 to 1 within so many thousand images; 500 if not given")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Begin with this generator: a folder, a run's folder or a weights.safetensors")
    ] = None,
    kimg: Annotated[float | None, typer.Option(min=0, help="Thousands of images to show, over all runs")] = None,
    snapshot_kimg: Annotated[
        float | None, typer.Option(min=0.001, help="Thousands of images between two sheets and evaluations")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=0, help="Stop after so many evaluations without a better one; 0 never does")
    ] = None,
    features: Annotated[
        str, typer.Option(help="What distances compare: auto, inception-torchvision or random-convnet-v1")
    ] = "auto",
    features_weights: Annotated[
        Path | None, typer.Option(help="torchvision weights of inception_v3; LABELMINT_INCEPTION_WEIGHTS if not given")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=2, help="Samples drawn for an evaluation")] = None,
    minimum_images: Annotated[int | None, typer.Option(min=2, help="Refuse to train on fewer images")] = None,
    w_dim: Annotated[int | None, typer.Option(help="Size of z and w")] = None,
    mapping_layers: Annotated[int | None, typer.Option()] = None,
    channel_base: Annotated[
        int | None, typer.Option(help="Channels at resolution r: channel-base / r, at most channel-max")
    ] = None,
    channel_max: Annotated[int | None, typer.Option()] = None,
    noise: Annotated[bool | None, typer.Option("--noise/--no-noise", help="Noise inputs of the style blocks")] = None,
    batch: Annotated[int | None, typer.Option()] = None,
    learning_rate: Annotated[float | None, typer.Option()] = None,
    gamma: Annotated[float | None, typer.Option(help="Weight of the R1 penalty")] = None,
    decay_kimg: Annotated[
        float, typer.Option(min=0, help="Lower the learning rate over the last so many thousand images")
    ] = 0.0,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Train a generator; started again with the same folder, it goes on from its last checkpoint.

    What is not given is chosen by the resolution.
    """
    if (images is None) == (bears == 0):
        raise UserError("--images, --bears: give one of them, a folder or zip of images or a number of toy bears")
    if dressed and not bears:
        raise UserError("--dressed: is about toy bears; give their number with --bears, or leave it out")
    with refusals_as_errors(), stop_requests() as request:
        from models.training.job import StopTraining, TrainingOptions

        shape = {
            "z_dim": w_dim,
            "w_dim": w_dim,
            "mapping_layers": mapping_layers,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "noise": noise,
        }
        settings = {
            "augment": augment,
            "augment_p": augment_p,
            "ada_images": None if ada_kimg is None else round(1000 * ada_kimg),
            "batch": batch,
            "learning_rate": learning_rate,
            "r1_gamma": gamma,
            "mirror": mirror,
            "seed": seed,
        }
        plan = _plan(bears > 0, resolution, start, _given(shape), _given(settings))
        if kimg is not None:
            plan = replace(plan, images=round(1000 * kimg))
        if snapshot_kimg is not None:
            plan = replace(plan, snapshot_images=round(1000 * snapshot_kimg))
        options = TrainingOptions(
            start=start,
            features=features,
            features_weights=_features_weights(features_weights),
            samples=samples,
            decay_images=round(1000 * decay_kimg),
            command=typed_command(),
            source=str(images) if images else f"{bears} {'dressed' if dressed else 'toy'} bears",
            **_given({"fit": fit, "patience": patience, "minimum_images": minimum_images}),
        )
        try:
            outcome = _show_training(images, bears, dressed, out, plan, options, device, request)
        except StopTraining:
            console.print("stopped before the training began; the same command starts it again")
            raise typer.Exit(STOPPED) from None
    _tell(outcome)


def _features_weights(given: Path | None) -> Path | None:
    """The file that was asked for, or else that of the settings. Looked for now: pictures are read first, for long."""
    weights = given or settings_or_error().inception_weights
    if weights is not None and not weights.is_file():
        raise UserError(
            f"--features-weights, LABELMINT_INCEPTION_WEIGHTS: {weights}: there is no such file; name that of "
            "torchvision's inception_v3, or leave it out"
        )
    return weights


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _plan(
    bears: bool, resolution: int | None, start: Path | None, shape: dict[str, Any], settings: dict[str, Any]
) -> TrainingPlan:
    """The plan for a resolution with what was typed put in its place."""
    from models.training.settings import BEAR_PLAN, plan_for
    from models.training.start import read_start

    if start is not None:
        architecture = read_start(start).architecture
        wanted = shape | ({} if resolution is None else {"resolution": resolution})
        for name, value in wanted.items():
            if getattr(architecture, name) != value:
                raise ValueError(
                    f"{name} {value} was asked for, but the generator to start from has {getattr(architecture, name)}; "
                    "leave it out"
                )
        plan = replace(plan_for(architecture.resolution), architecture=architecture)
        if bears:
            plan = replace(plan, settings=replace(plan.settings, mirror=True, augment="none"))
    else:
        plan = BEAR_PLAN if bears else plan_for(resolution or 64)
        at: dict[str, Any] = {} if resolution is None else {"resolution": resolution}
        plan = replace(plan, architecture=replace(plan.architecture, **at, **shape))
    return replace(plan, settings=replace(plan.settings, **settings))


def _show_training(
    images: Path | None,
    bears: int,
    dressed: bool,
    out: Path,
    plan: TrainingPlan,
    options: TrainingOptions,
    device: str,
    request: StopRequest,
) -> TrainingOutcome:
    from models.training.bears import render_training_bears
    from models.training.images import prepare_images
    from models.training.job import StopTraining
    from models.training.job import train as run_training

    with bar() as display:
        prepare, report = _callbacks(display, plan.images, request, StopTraining)
        resolution = plan.architecture.resolution

        def prepared(cache: Path) -> TrainingImages:
            if images is None:
                tell = partial(prepare, "render bears")
                return render_training_bears(bears, resolution, cache, tell, dressed)
            tell = partial(prepare, "read images")
            found = prepare_images(images, resolution, options.fit, cache, tell, options.minimum_images)
            assert found.report is not None  # noqa: S101  # there is one of pictures
            _tell_images(found.report)
            return found

        return run_training(prepared, out, plan, report, options, prepare, device)


def _callbacks(
    display: Progress, target: int, request: StopRequest, stop: type[Exception]
) -> tuple[Callable[[str, int, int], None], Callable[[TrainingProgress], None]]:
    """What shows the preparation, and what shows the training; both stop the work when asked to."""
    tasks: dict[str, Any] = {}

    def prepare(stage: str, done: int, total: int) -> None:
        if request.made:
            raise stop
        if stage not in tasks:
            tasks[stage] = display.add_task(stage, total=total, note="")
        display.update(tasks[stage], completed=done)

    def report(progress: TrainingProgress) -> None:
        if request.made:
            display.console.print("stopping")
            raise stop
        if "train" not in tasks:
            tasks["train"] = display.add_task("train", total=target, completed=progress.images, note="")
        note = f"{progress.images_per_s:.0f}/s  p {progress.p:.2f}"
        if progress.features:
            note += f"  distance {progress.distance:.3g}"
        display.update(tasks["train"], completed=progress.images, note=note)

    return prepare, report


def _tell_images(report: PreparationReport) -> None:
    line = f"{report.images} images to train on, from {report.files} files"
    if report.ignored:
        line += f"; {report.ignored} other files ignored"
    if report.enlarged:
        line += f"; {report.enlarged} are smaller than the resolution, and were enlarged"
    console.print(line, markup=False, highlight=False)
    for note, count in report.notes.items():
        console.print(f"  {note}: {count}", markup=False, highlight=False)
    for file, original in report.duplicates:
        console.print(f"  left out: {file} shows the same as {original}", markup=False, highlight=False, soft_wrap=True)
    for rejection in report.rejected:
        console.print(f"  left out: {rejection}", markup=False, highlight=False, soft_wrap=True)
    more = report.rejected_count + report.duplicate_count - len(report.rejected) - len(report.duplicates)
    if more:
        console.print(f"  and {more} more left out")


def _tell(outcome: TrainingOutcome) -> None:
    why = {
        "done": "done",
        "early-stop": "stopped early: it did not get better any more",
        "stopped": "stopped; the same command goes on from here",
    }
    line = f"{why[outcome.ended]}, after {outcome.images_shown} images shown. The generator in {outcome.folder} is "
    if outcome.best is None:
        line += "that of the end; it was not measured"
    else:
        line += (
            f"that of {outcome.best_images}, Fréchet distance {outcome.best.frechet:.4g}, kernel distance "
            f"{outcome.best.kernel:.3g} ({outcome.best.features}, {outcome.best.samples} samples)"
        )
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    if outcome.unmeasured_by:
        line = (
            f"nothing was measured this time: the weights of {outcome.unmeasured_by}, which the run began with, are "
            "not here; give their path as --features-weights or LABELMINT_INCEPTION_WEIGHTS"
        )
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if outcome.ended == "stopped":
        raise typer.Exit(STOPPED)
