"""`labelmint generator encode`: a generator's encoder."""

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelmint.progress import bar as progress_bar
from labelmint.progress import console, typed_command
from labelmint.stopping import STOPPED, stop_requests
from labelmint.user_error import UserError, refusals_as_errors, settings_or_error

if TYPE_CHECKING:
    from models.inversion.perceptual import PerceptualDistance
    from models.inversion.training import EncoderTraining


def encode(
    folder: Annotated[Path, typer.Argument(help="Folder with weights.safetensors; the encoder is written beside it")],
    steps_code: Annotated[int, typer.Option(help="Steps of stage 1: find w")] = 6000,
    steps_image: Annotated[int, typer.Option(help="Steps of stage 2: bring the image back")] = 3000,
    minutes: Annotated[float, typer.Option(help="Stop after this much wall time")] = 60.0,
    batch: Annotated[int, typer.Option()] = 32,
    resume: Annotated[bool, typer.Option(help="Go on from the encoder that is there")] = False,
    lpips_backbone: Annotated[
        str | None, typer.Option(help="alex, vgg or squeeze; LABELMINT_LPIPS_BACKBONE if not given")
    ] = None,
    lpips_weights: Annotated[
        Path | None, typer.Option(help="torchvision weights of the backbone; LABELMINT_LPIPS_WEIGHTS if not given")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Train the encoder of a generator, and measure its latent statistics; started again in the same way, it goes on.

    What it has reached is kept every two minutes, and when it is stopped.
    """
    from models.bundle import load_generator
    from models.device import choose_device
    from models.inversion.encoder import Encoder
    from models.inversion.latents import measure_latents
    from models.inversion.training import EncoderProgress, EncoderSettings, EncoderTraining
    from models.provenance import describe_device, note_provenance

    settings = EncoderSettings(steps_code, steps_image, 60 * minutes, batch)
    last: dict[str, float] = {}
    with refusals_as_errors(), stop_requests() as request:
        place = choose_device(device)
        generator = load_generator(folder / "weights.safetensors", place)
        perceptual = _perceptual(lpips_backbone, lpips_weights).to(place)
        latents = measure_latents(generator)
        start = Encoder.load(folder / "encoder.safetensors", place) if resume else None
        training = EncoderTraining(generator, latents, perceptual, settings, start)
        kept = _Kept(folder, f"{perceptual.backbone}, {perceptual.source} weights")
        kept.restore(training)
        with progress_bar() as bar:
            steps = {1: steps_code, 2: steps_image}
            names = {1: "find the code", 2: "bring back the image"}
            tasks = {stage: bar.add_task(names[stage], total=steps[stage], note="") for stage in steps}
            for stage in range(1, training.stage):
                bar.update(tasks[stage], completed=steps[stage])

            def report(progress: EncoderProgress) -> None:
                last.update(asdict(progress))
                note = f"code error {progress.code_error:.3f}"
                if progress.stage == 2:
                    note += f"  {progress.psnr_db:.2f} dB  LPIPS {progress.lpips:.4f}"
                bar.update(tasks[progress.stage], completed=progress.step, note=note)
                if request.made:
                    kept.keep(training.state())
                    bar.console.print("stopped; the same command goes on from here")
                    raise typer.Exit(STOPPED)

            encoder = training.run(report, kept.keep)
        latents.save(folder / "latents.safetensors")
        encoder.save(folder / "encoder.safetensors", {"perceptual": perceptual.source})
        facts = {
            "command": typed_command(),
            "perceptual": kept.perceptual,
            "wall_time_s": round(kept.seconds, 1),
            "device": describe_device(place),
            "settings": asdict(settings),
            "at_the_end": last,
        }
        note_provenance(folder, "encoder", facts)
        kept.drop()
    console.print(f"encoder written to {folder}")


class _Kept:
    """What a training of an encoder has reached, in the folder `encoder-run` beside its generator. perceptual: the
    distance it is trained by, in words."""

    def __init__(self, folder: Path, perceptual: str) -> None:
        from workers.local_generators import file_sha256

        self.perceptual = perceptual
        self._folder = folder / "encoder-run"
        self._of = {"generator": file_sha256(folder / "weights.safetensors"), "perceptual": perceptual}
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """That the training has taken, those before it was taken up again included."""
        return time.monotonic() - self._began

    def keep(self, state: dict[str, Any]) -> None:
        """Write a state of the training. Raises `OSError`."""
        from models.training.checkpoints import write_checkpoint

        self._folder.mkdir(exist_ok=True)
        write_checkpoint(self._folder, {**self._of, "seconds": self.seconds, "state": state})

    def restore(self, training: "EncoderTraining") -> None:
        """Take up what is there, if it is of the same training; else it is not looked at again."""
        from models.training.checkpoints import read_checkpoint

        try:
            known = read_checkpoint(self._folder)
            if known is None or {name: known[name] for name in self._of} != self._of:
                return
            if training.restore(known["state"]):
                self._began -= float(known["seconds"])
                console.print(f"goes on from step {training.step} of stage {training.stage}")
        except (ValueError, KeyError, RuntimeError):
            console.print(f"{self._folder}: what is left of a training cannot be used; it begins anew")

    def drop(self) -> None:
        """Forget it."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _perceptual(backbone: str | None, weights: Path | None) -> "PerceptualDistance":
    """The distance that was asked for, where something is left open as the settings say. Tells of random features."""
    from typing import cast

    from models.inversion.perceptual import Backbone, PerceptualDistance

    settings = settings_or_error()
    name = backbone or settings.lpips_backbone
    if name not in ("alex", "vgg", "squeeze"):
        raise typer.BadParameter("must be alex, vgg or squeeze", param_hint="--lpips-backbone")
    if weights is None and name == settings.lpips_backbone:  # the setting's file is of the setting's backbone
        weights = settings.lpips_weights
    try:
        perceptual = PerceptualDistance(cast(Backbone, name), weights)
    except ValueError as refusal:
        remedy = f"name the file of torchvision's {name}, or leave it out"
        raise UserError(f"--lpips-weights, LABELMINT_LPIPS_WEIGHTS: {refusal}; {remedy}") from None
    if perceptual.source == "random":
        console.print(
            f"LPIPS compares features of a random {name}, because its weights are not in torch's cache; figures cannot "
            "be compared with others. Name a file with the weights in --lpips-weights or LABELMINT_LPIPS_WEIGHTS",
            soft_wrap=True,
        )
    return perceptual
