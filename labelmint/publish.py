"""`labelmint generator publish`: makes a trained generator known to the service."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from labelmint.user_error import UserError, outages_as_errors, settings_or_error, store_or_error
from service.generator_names import NAME_REMEDY, is_name
from service.ids import IDENTIFIER
from service.stores import Store, absolute_url
from service.users import users_in_words


def publish(
    folder: Annotated[Path, typer.Argument(help="Folder with weights.safetensors, as `train` and `encode` leave it")],
    generator_id: Annotated[str, typer.Option("--id", help="What projects call it: letters a-z, digits and dashes")],
    name: Annotated[str | None, typer.Option(help="What people call it")] = None,
) -> None:
    """Put a generator into the store, for projects to use. It replaces one of the same id that nothing uses."""
    from models.checkpoint import CheckpointError
    from workers.publish import publish_generator

    if not IDENTIFIER.fullmatch(generator_id):
        raise UserError(f"--id {generator_id}: use lower-case letters, digits and dashes, at most 64 of them")
    if name is not None and not is_name(name):
        raise UserError(f"--name: {NAME_REMEDY}")
    settings = settings_or_error()
    store = store_or_error(settings)
    try:
        with outages_as_errors():
            _refuse_another(store, folder, generator_id)
            record = publish_generator(store, folder, generator_id, name or generator_id, "trained")
    except (CheckpointError, OSError) as refusal:
        raise UserError(f"{folder}: {refusal}") from None
    without = "" if record.has_encoder else "; it has no encoder yet: one is trained when a project first needs it"
    place = absolute_url(settings.store_url)
    Console(highlight=False, markup=False, soft_wrap=True).print(
        f"generator {record.id} of {record.resolution} × {record.resolution} pixels is in the store {place}{without}"
    )


def _refuse_another(store: Store, folder: Path, generator_id: str) -> None:
    """Raises `UserError` if a generator with other weights has this id, and cannot give it up.

    Projects fit their seeds to one generator's resolution and weights, and jobs train encoders for its weights, or
    begin from them. A bundled one comes back when a worker starts.
    """
    from models.bundled import bundled_folders
    from service.generators import find_generator, unfinished_in_store
    from service.projects import every_project
    from workers.local_generators import WEIGHTS, file_sha256

    if not (folder / WEIGHTS).is_file():
        return  # publishing says what is wrong
    sha256 = file_sha256(folder / WEIGHTS)
    # The store may not have the bundled ones yet.
    others = {file_sha256(place / WEIGHTS) for place in bundled_folders() if place.name == generator_id} - {sha256}
    known = find_generator(store, generator_id)
    is_another = known is not None and known.sha256 != sha256
    if others or (known is not None and is_another and known.source == "bundled"):
        raise UserError(f"--id {generator_id}: a generator that comes with labelmint has this id; choose another one")
    if not is_another:
        return
    projects = [project.id for project in every_project(store) if project.generator == generator_id]
    if projects:
        raise _in_use(generator_id, projects, "project", "delete")
    jobs = [
        job.id
        for job in unfinished_in_store(store)
        if generator_id in (job.generator_id, getattr(job.request, "start", None))
    ]
    if jobs:
        raise _in_use(generator_id, jobs, "unfinished job", "cancel")


def _in_use(generator_id: str, ids: list[str], what: str, remedy: str) -> UserError:
    users, named = users_in_words(ids, what)
    return UserError(
        f"--id {generator_id}: {users} another generator with this id; choose another one, or {remedy} first: {named}"
    )
