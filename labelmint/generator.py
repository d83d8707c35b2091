"""`labelmint generator`: train a generator, train its encoder, look at it."""

import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

app = typer.Typer(no_args_is_help=True, help="Train a generator and its encoder, and look at them.")
console = Console(stderr=True)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoint, sample sheets, generator files")],
    images: Annotated[Path | None, typer.Option(help="Folder of PNG or JPEG images to learn from")] = None,
    bears: Annotated[int, typer.Option(help="Learn from this many toy bears instead of a folder")] = 0,
    resolution: Annotated[int, typer.Option(help="Pixels a side: a power of two from 8 to 1024")] = 64,
    kimg: Annotated[float, typer.Option(help="Thousands of images to show, over all runs together")] = 300.0,
    w_dim: Annotated[int, typer.Option(help="Size of z and w")] = 128,
    mapping_layers: Annotated[int, typer.Option()] = 6,
    channel_base: Annotated[
        int, typer.Option(help="Channels at resolution r: channel-base / r, at most channel-max")
    ] = 2048,
    channel_max: Annotated[int, typer.Option()] = 192,
    batch: Annotated[int, typer.Option()] = 32,
    learning_rate: Annotated[float, typer.Option()] = 2.5e-3,
    gamma: Annotated[float, typer.Option(help="Weight of the R1 penalty")] = 0.3,
    decay_kimg: Annotated[
        float, typer.Option(help="Lower the learning rate over the last so many thousand images")
    ] = 0.0,
    mirror: Annotated[bool, typer.Option(help="Show mirrored images as well")] = True,
    noise: Annotated[bool, typer.Option(help="Give the style blocks noise inputs")] = False,
    seed: Annotated[int, typer.Option()] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Train a generator; started again with the same folder, it goes on from its last checkpoint."""
    from models.generator import Architecture
    from models.training.images import load_folder, render_training_bears
    from models.training.run import Run
    from models.training.settings import TrainingSettings
    from models.training.trainer import Trainer, TrainingProgress

    if (images is None) == (bears == 0):
        raise typer.BadParameter("give either --images DIR or --bears N", param_hint="--images")
    try:
        architecture = Architecture(resolution, w_dim, w_dim, mapping_layers, channel_base, channel_max, noise)
        with _bar() as bar:
            if images is not None:
                pictures = load_folder(images, resolution)
            else:
                rendering = bar.add_task("render bears", total=bears, note="")
                pictures = render_training_bears(
                    bears,
                    resolution,
                    out / "images",
                    lambda done, total: bar.update(rendering, completed=done, total=total),
                )
                bar.update(rendering, completed=bears)
            settings = TrainingSettings(
                batch=batch, learning_rate=learning_rate, r1_gamma=gamma, mirror=mirror, seed=seed
            )
            trainer = Trainer(out, architecture, settings, pictures, device)
            run = Run(trainer, _command(), source=str(images) if images else f"{bears} toy bears")
            training = bar.add_task("train", total=int(kimg * 1000), completed=trainer.shown, note="")

            def report(progress: TrainingProgress) -> None:
                logits = f"real {progress.real:+.2f} fake {progress.fake:+.2f} R1 {progress.r1:.3f}"
                note = f"{progress.images_per_s:.1f} img/s  {logits}"
                bar.update(training, completed=progress.images, note=note)
                run.log(progress)

            trainer.run(int(kimg * 1000), report, snapshot=run.snapshot, decay_images=int(decay_kimg * 1000))
    except (ValueError, OSError) as error:
        console.print(f"[red]error:[/red] {error}")
        raise typer.Exit(2) from None
    console.print(f"generator written to {out}")


@app.command()
def encode(
    folder: Annotated[Path, typer.Argument(help="Folder with weights.safetensors; the encoder is written beside it")],
    steps_code: Annotated[int, typer.Option(help="Steps of stage 1: find w")] = 6000,
    steps_image: Annotated[int, typer.Option(help="Steps of stage 2: bring the image back")] = 3000,
    minutes: Annotated[float, typer.Option(help="Stop after this much wall time")] = 60.0,
    batch: Annotated[int, typer.Option()] = 32,
    resume: Annotated[bool, typer.Option(help="Go on from the encoder that is there")] = False,
    lpips_backbone: Annotated[str, typer.Option(help="alex, vgg or squeeze")] = "alex",
    lpips_weights: Annotated[Path | None, typer.Option(help="torchvision weights of the backbone")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Train the encoder of a generator, and measure its latent statistics."""
    from typing import cast

    from models.bundle import load_generator
    from models.device import choose_device
    from models.inversion.encoder import Encoder
    from models.inversion.latents import measure_latents
    from models.inversion.perceptual import Backbone, PerceptualDistance
    from models.inversion.training import EncoderProgress, EncoderSettings, EncoderTraining
    from models.provenance import describe_device, note_provenance

    if lpips_backbone not in ("alex", "vgg", "squeeze"):
        raise typer.BadParameter("must be alex, vgg or squeeze", param_hint="--lpips-backbone")
    settings = EncoderSettings(steps_code, steps_image, 60 * minutes, batch)
    last: dict[str, float] = {}
    started = time.monotonic()
    try:
        place = choose_device(device)
        generator = load_generator(folder / "weights.safetensors", place)
        perceptual = PerceptualDistance(cast(Backbone, lpips_backbone), lpips_weights).to(place)
        latents = measure_latents(generator)
        start = Encoder.load(folder / "encoder.safetensors", place) if resume else None
        with _bar() as bar:
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
            "command": _command(),
            "perceptual": f"{perceptual.backbone}, {perceptual.source} weights",
            "wall_time_s": round(time.monotonic() - started, 1),
            "device": describe_device(place),
            "settings": asdict(settings),
            "at_the_end": last,
        }
        note_provenance(folder, "encoder", facts)
    except (ValueError, OSError) as error:
        console.print(f"[red]error:[/red] {error}")
        raise typer.Exit(2) from None
    console.print(f"encoder written to {folder}")


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
    """Draw a sheet of samples."""
    from models.bundle import load_generator
    from models.device import choose_device
    from models.pictures import grid, save_png
    from models.training.run import sample_images

    try:
        generator = load_generator(folder / "weights.safetensors", choose_device(device))
        save_png(out, grid(sample_images(generator, rows * columns, seed, truncation), columns), zoom)
    except (ValueError, OSError) as error:
        console.print(f"[red]error:[/red] {error}")
        raise typer.Exit(2) from None
    console.print(f"samples in {out}")
