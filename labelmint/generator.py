"""`labelmint generator`: train a generator, train its encoder, look at it."""

from pathlib import Path
from typing import Annotated

import typer

from labelmint.generator_encode import encode
from labelmint.generator_train import train
from labelmint.progress import console
from labelmint.user_error import refusals_as_errors

app = typer.Typer(no_args_is_help=True, help="Train or import generators, and put them into the store.")
app.command()(train)
app.command()(encode)


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
