"""`labelmint generator`: train a generator, train its encoder, look at it."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelmint.generator_train import train
from labelmint.progress import bar as progress_bar
from labelmint.progress import console, typed_command
from labelmint.user_error import UserError, refusals_as_errors, settings_or_error

if TYPE_CHECKING:
    from models.inversion.perceptual import PerceptualDistance

app = typer.Typer(no_args_is_help=True, help="Train or import generators, and put them into the store.")
app.command()(train)


@app.command()
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
    """Train the encoder of a generator, and measure its latent statistics."""
    from models.bundle import load_generator
    from models.device import choose_device
    from models.inversion.encoder import Encoder
    from models.inversion.latents import measure_latents
    from models.inversion.training import EncoderProgress, EncoderSettings, EncoderTraining
    from models.provenance import describe_device, note_provenance

    settings = EncoderSettings(steps_code, steps_image, 60 * minutes, batch)
    last: dict[str, float] = {}
    started = time.monotonic()
    with refusals_as_errors():
        place = choose_device(device)
        generator = load_generator(folder / "weights.safetensors", place)
        perceptual = _perceptual(lpips_backbone, lpips_weights).to(place)
        latents = measure_latents(generator)
        start = Encoder.load(folder / "encoder.safetensors", place) if resume else None
        with progress_bar() as bar:
            tasks = {
                1: bar.add_task("find the code", total=steps_code, note=""),
                2: bar.add_task("bring back the image", total=steps_image, note=""),
            }

            def report(progress: EncoderProgress) -> None:
                last.update(asdict(progress))
                note = f"code error {progress.code_error:.3f}"
                if progress.stage == 2:
                    note += f"  {progress.psnr_db:.2f} dB  LPIPS {progress.lpips:.4f}"
                bar.update(tasks[progress.stage], completed=progress.step, note=note)

            encoder = EncoderTraining(generator, latents, perceptual, settings, start).run(report)
        latents.save(folder / "latents.safetensors")
        encoder.save(folder / "encoder.safetensors", {"perceptual": perceptual.source})
        facts = {
            "command": typed_command(),
            "perceptual": f"{perceptual.backbone}, {perceptual.source} weights",
            "wall_time_s": round(time.monotonic() - started, 1),
            "device": describe_device(place),
            "settings": asdict(settings),
            "at_the_end": last,
        }
        note_provenance(folder, "encoder", facts)
    console.print(f"encoder written to {folder}")


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


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="Folder with weights.safetensors")],
    out: Annotated[Path, typer.Option(help="PNG to write")] = Path("samples.png"),
    truncation: Annotated[float, typer.Option(min=0.0, max=1.0, help="psi: 1 is the full variety")] = 1.0,
    columns: Annotated[int, typer.Option(min=1)] = 12,
    rows: Annotated[int, typer.Option(min=1)] = 6,
    zoom: Annotated[int, typer.Option(min=1, max=16)] = 2,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Draw a sheet of samples. The classes of a conditional generator take turns."""
    from models.bundle import load_generator
    from models.device import choose_device
    from models.pictures import grid, save_png
    from models.training.run import sample_images

    with refusals_as_errors():
        generator = load_generator(folder / "weights.safetensors", choose_device(device))
        save_png(out, grid(sample_images(generator, rows * columns, seed, truncation), columns), zoom)
    console.print(f"samples in {out}")
