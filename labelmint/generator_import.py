"""`labelmint generator import`: makes a checkpoint that somebody trained known to the service."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from labelmint.user_error import UserError, outages_as_errors, settings_or_error, store_or_error
from service.ids import IDENTIFIER
from service.records import GeneratorRecord
from service.settings import Settings
from service.stores import Store, absolute_url

_console = Console(highlight=False, markup=False, soft_wrap=True)


def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="NVIDIA's .pkl, rosinality's .pt, or a weights.safetensors")],
    name: Annotated[str | None, typer.Option(help="What people call it; the file's name if not given")] = None,
    generator_id: Annotated[
        str | None, typer.Option("--id", help="What projects call it; made from the file's hash if not given")
    ] = None,
) -> None:
    """Put the generator of a checkpoint into the store, for projects to use. Nothing in the file is executed."""
    from service.generators import derived_id, find_generator
    from workers.local_generators import file_sha256

    if generator_id is not None and not IDENTIFIER.fullmatch(generator_id):
        raise UserError(f"--id {generator_id}: use lower-case letters, digits and dashes, at most 64 of them")
    settings = settings_or_error()
    store = store_or_error(settings)
    try:
        sha256 = file_sha256(file)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    wanted = generator_id or derived_id(sha256)
    with outages_as_errors():
        record = find_generator(store, wanted)
        if record is not None and record.upload_sha256 != sha256:
            raise UserError(f"--id {wanted}: there is another generator with this id; choose another one")
        if record is None:
            record = _imported(file, sha256, wanted, name or file.stem[:64], settings, store)
    place = absolute_url(settings.store_url)
    _console.print(f"generator {record.id} of {record.resolution} × {record.resolution} pixels is in the store {place}")


def _imported(
    file: Path, sha256: str, generator_id: str, name: str, settings: Settings, store: Store
) -> GeneratorRecord:
    from models.checkpoint import CheckpointError
    from models.device import choose_device
    from workers.generator_import import read_checkpoint
    from workers.public_errors import JobFailure
    from workers.publish import publish_generator

    try:
        with TemporaryDirectory() as folder:
            facts = read_checkpoint(file, Path(folder), settings, lambda: None, _console.print)
            notes = [str(note) for note in facts.pop("notes", [])]
            for note in notes:
                _console.print(f"note: {note}")
            return publish_generator(
                store,
                Path(folder),
                generator_id,
                name,
                str(facts.pop("source")),
                upload_sha256=sha256,
                facts={"import": facts | {"notes": notes}},
                device=choose_device(settings.device),
            )
    except JobFailure as refusal:
        raise UserError(refusal.error.message) from None
    except (CheckpointError, OSError, ValueError) as refusal:
        raise UserError(f"{file}: {refusal}") from None
