"""`labelmint generator publish`: makes a trained generator known to the service."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from labelmint.user_error import UserError, outages_as_errors, settings_or_error, store_or_error

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def publish(
    folder: Annotated[Path, typer.Argument(help="Folder with weights.safetensors, as `train` and `encode` leave it")],
    generator_id: Annotated[str, typer.Option("--id", help="What projects call it: letters a-z, digits and dashes")],
    name: Annotated[str | None, typer.Option(help="What people call it")] = None,
) -> None:
    """Put a generator into the store, for projects to use."""
    from models.checkpoint import CheckpointError
    from workers.publish import publish_generator

    if not _ID.fullmatch(generator_id):
        raise UserError(f"--id {generator_id}: use lower-case letters, digits and dashes, at most 64 of them")
    store = store_or_error(settings_or_error())
    try:
        with outages_as_errors():
            record = publish_generator(store, folder, generator_id, name or generator_id, "trained")
    except (CheckpointError, OSError) as refusal:
        raise UserError(f"{folder}: {refusal}") from None
    without = "" if record.has_encoder else "; it has no encoder, so inverting seeds takes longer and comes out worse"
    Console().print(
        f"generator {record.id} of {record.resolution} × {record.resolution} pixels is in the store{without}"
    )
