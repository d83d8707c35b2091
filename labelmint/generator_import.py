"""`labelmint generator import`: makes a checkpoint that somebody trained known to the service."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from labelmint.user_error import UserError, outages_as_errors, settings_or_error, store_or_error
from service.generator_names import NAME_REMEDY, is_name, name_of_file
from service.ids import IDENTIFIER
from service.records import GeneratorRecord
from service.requests import ImportRequest
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
    name = (name or "").strip()
    if name and not is_name(name):
        raise UserError(f"--name: {NAME_REMEDY}")
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
            known_as = name or name_of_file(file.name) or wanted
            record = _imported(file, ImportRequest(generator_id=wanted, name=known_as, sha256=sha256), settings, store)
    place = absolute_url(settings.store_url)
    _console.print(f"generator {record.id} of {record.resolution} × {record.resolution} pixels is in the store {place}")


def _imported(file: Path, request: ImportRequest, settings: Settings, store: Store) -> GeneratorRecord:
    from workers.generator_import import publish_checkpoint
    from workers.public_errors import JobFailure

    try:
        with TemporaryDirectory() as folder:
            record, notes = publish_checkpoint(
                file, Path(folder), store, settings, request, lambda: None, _console.print
            )
    except JobFailure as refusal:
        raise UserError(refusal.error.message) from None
    except (OSError, ValueError) as refusal:
        raise UserError(f"{file}: {refusal}") from None
    for note in notes:
        _console.print(f"note: {note}")
    return record
