"""`labelmint bears`: labeled toy bears to try the service with."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, help="Render toy bears, an image domain with exact labels.")
console = Console(stderr=True)


@app.callback()
def bears() -> None:
    """Render toy bears, an image domain with exact labels."""


@app.command()
def render(
    out: Annotated[Path, typer.Option(help="A .zip to upload, or a folder")],
    count: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first bear; the others follow")] = 0,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Pixels a side")] = 64,
    generator: Annotated[str, typer.Option(help="Generator that the project names")] = "toy-bears",
    labels: Annotated[
        str, typer.Option(help="Label kinds, with commas between")
    ] = "segmentation,keypoints,depth,class",
) -> None:
    """Render bears with their exact labels in the layout that POST /projects takes."""
    from models.bears.upload import bear_files, write_upload

    try:
        write_upload(out, bear_files(count, seed, size, generator, [kind.strip() for kind in labels.split(",")]))
    except ValueError as error:
        console.print(f"[red]error:[/red] --labels {labels}: {error}")
        raise typer.Exit(2) from None
    except OSError as error:
        console.print(f"[red]error:[/red] {out}: {error.strerror}")
        raise typer.Exit(2) from None
    console.print(f"{count} bears in {out}")
