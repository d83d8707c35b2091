"""`labelmint generator import`: makes a checkpoint that somebody trained known to the service."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from labelmint.user_error import UserError, outages_as_errors, settings_or_error, store_or_error

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="NVIDIA's .pkl, rosinality's .pt, or a weights.safetensors")],
    name: Annotated[str | None, typer.Option(help="What people call it; the file's name if not given")] = None,
    generator_id: Annotated[
        str | None, typer.Option("--id", help="What projects call it; made from the file's hash if not given")
    ] = None,
) -> None:
    """Put the generator of a checkpoint into the store, for projects to use. Nothing in the file is executed."""
    from models.checkpoint import CheckpointError
    from models.device import choose_device
    from service.generators import derived_id, find_generator
    from workers.generator_import import read_checkpoint
    from workers.local_generators import file_sha256
    from workers.public_errors import JobFailure
    from workers.publish import publish_generator

    if generator_id is not None and not _ID.fullmatch(generator_id):
        raise UserError(f"--id {generator_id}: use lower-case letters, digits and dashes, at most 64 of them")
    settings = settings_or_error()
    store = store_or_error(settings)
    console = Console()
    try:
        sha256 = file_sha256(file)
        wanted = generator_id or derived_id(sha256)
        with outages_as_errors(), TemporaryDirectory() as scratch:
            record = find_generator(store, wanted)
            if record is not None and record.upload_sha256 != sha256:
                raise UserError(f"--id {wanted}: there is another generator with this id; choose another one")
            if record is None:
                facts = read_checkpoint(
                    file, Path(scratch), settings, lambda: None, lambda words: console.print(words, highlight=False)
                )
                notes = [str(note) for note in facts.pop("notes", [])]
                record = publish_generator(
                    store,
                    Path(scratch),
                    wanted,
                    name or file.stem[:64] or wanted,
                    str(facts.pop("source")),
                    upload_sha256=sha256,
                    facts={"import": facts | {"notes": notes}},
                    device=choose_device(settings.device),
                )
                for note in notes:
                    console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    except JobFailure as refusal:
        raise UserError(refusal.error.message) from None
    except (CheckpointError, OSError, ValueError) as refusal:
        raise UserError(f"{file}: {refusal}") from None
    console.print(
        f"generator {record.id} of {record.resolution} × {record.resolution} pixels is in the store", highlight=False
    )
