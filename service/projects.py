"""Projects in the store: made whole or not at all, found, changed, and removed."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

import redis
from pydantic import BaseModel, ValidationError

from service.forced_seeds import forced_names
from service.generators import every_generator, find_generator
from service.ids import new_id
from service.label_schema import LabelSchema
from service.locks import brief_lock
from service.problems import Complaint, Problem, invalid_request, not_found
from service.project_spec import FILE as PROJECT_FILE
from service.project_spec import ProjectSpec, parse_project
from service.records import ProjectRecord, labeler_key
from service.seeds import SeedLimits, check_seeds
from service.settings import Settings
from service.stores.protocol import InvalidKey, ObjectMissing, Store, StoreUnavailable
from service.uploads import UploadDamaged, UploadedFile, composed

PROJECT_JSON_BYTES = 2**20
"""A `project.json` may have so many."""


class ProjectFit(BaseModel):
    """`projects/{id}/fit.json`: which labeler was fitted to the project last. Written by the worker."""

    fit_key: str

    @staticmethod
    def key(project_id: str) -> str:
        """Where it lies in the store."""
        return f"projects/{project_id}/fit.json"


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client sent to make a project of."""

    files: Sequence[UploadedFile]
    project: bytes | None
    """A `project.json` that goes before one among the files."""
    complaints: Sequence[Complaint]
    """What was found wrong on receiving it."""


def create_project(store: Store, upload: Upload, settings: Settings) -> ProjectRecord:
    """Check the upload, fit its seeds, and store them as a new project.

    Raises `Problem` (422) with every complaint there is. `project.json` is written last, so that a project is there
    whole or not at all; if storing fails, what was written is removed.
    """
    complaints = list(upload.complaints)
    spec, wrong = _spec(upload, settings)
    complaints += wrong
    generator = find_generator(store, spec.generator) if spec is not None else None
    if spec is not None and generator is None:
        complaints.append(_unknown_generator(store))
    limits = SeedLimits(settings.max_seeds, settings.max_image_pixels)
    checked = check_seeds(upload.files, limits, spec, generator.resolution if generator else None)
    complaints += checked.complaints
    if complaints or spec is None or checked.schema is None:
        raise invalid_upload(complaints)
    labels = {name: getattr(checked.schema, name) for name in LabelSchema.model_fields}
    records = [seed.record for seed in checked.seeds]
    project = ProjectRecord(
        id=new_id(), name=spec.name, generator=spec.generator, seeds=records, flip=spec.flip, **labels
    )
    try:
        for seed in checked.seeds:
            for file, data in seed.files.items():
                store.put(ProjectRecord.seed_key(project.id, seed.record.index, file), data)
        store.put(ProjectRecord.key(project.id), project.model_dump_json(indent=1).encode())
        # Whoever deletes a generator looks for projects once more after it is gone: one of the two sees the other.
        if find_generator(store, project.generator) is None:
            raise invalid_upload([_unknown_generator(store)])
    except BaseException:
        with suppress(StoreUnavailable):
            remove_project(store, project.id)
        raise
    return project


def _unknown_generator(store: Store) -> Complaint:
    known = ", ".join(found.id for found in every_generator(store)) or "none"
    remedy = f"choose one of these: {known}"
    return Complaint(file=PROJECT_FILE, field="generator", message="unknown generator", remedy=remedy)


def invalid_upload(complaints: Sequence[Complaint]) -> Problem:
    """422: nothing of the upload was kept, and why."""
    detail = "Nothing was kept. Correct every item of `errors`, then send the upload again."
    return Problem(422, "invalid-upload", "Invalid upload", detail, complaints)


def find_project(store: Store, project_id: str) -> ProjectRecord | None:
    """The project with this id, or None; that of a later version counts as missing."""
    try:
        return ProjectRecord.model_validate_json(store.read(ProjectRecord.key(project_id)))
    except (ObjectMissing, InvalidKey, ValidationError):
        return None


def known_project(store: Store, project_id: str) -> ProjectRecord:
    """The project with this id. Raises `Problem` (404)."""
    project = find_project(store, project_id)
    if project is None:
        raise not_found("project")
    return project


def every_project(store: Store, after: str | None = None) -> Iterator[ProjectRecord]:
    """All of them, by id, or those that come `after` an id, of a project or not. Reads one record for each."""
    for project_id in store.folders("projects/"):
        if after is None or f"{project_id}/" > f"{after}/":
            project = find_project(store, project_id)
            if project is not None:
                yield project


def project_lock(connection: redis.Redis, project_id: str) -> AbstractContextManager[None]:
    """Held by who changes or removes a project that others know of: what is removed is not written again."""
    return brief_lock(connection, f"project:{project_id}")


def force_seeds(store: Store, project_id: str, texts: Sequence[str]) -> ProjectRecord:
    """The project after its forced seeds were replaced by those with the NAMEs `texts`; the next fit heeds it.

    Call it under the `project_lock`. Raises `Problem`: 404, and 422 with every complaint there is, after which all is
    as it was.
    """
    project = known_project(store, project_id)
    known = {composed(seed.name): seed.name for seed in project.seeds}
    names, complaints = forced_names(texts, lambda text: known.get(composed(text)))
    if complaints:
        raise invalid_request(complaints)
    seeds = [seed.model_copy(update={"forced": seed.name in names}) for seed in project.seeds]
    changed = project.model_copy(update={"seeds": seeds})
    store.put(ProjectRecord.key(project_id), changed.model_dump_json(indent=1).encode())
    return changed


def remove_project(store: Store, project_id: str) -> None:
    """Remove the project and its seeds. `project.json` goes first, so that no half of it is ever found."""
    store.delete(ProjectRecord.key(project_id))
    store.delete_prefix(f"projects/{project_id}/")


def read_fit_file(store: Store, project_id: str, file: str) -> tuple[str, bytes]:
    """The fit key of the project's last fit, and one of the files of its labeler.

    Raises `Problem` (404) before the first fit.
    """
    try:
        fit_key = ProjectFit.model_validate_json(store.read(ProjectFit.key(project_id))).fit_key
        return fit_key, store.read(labeler_key(fit_key, file))
    except ObjectMissing:
        detail = f"The fit has not run yet. POST /projects/{project_id}/fit runs it; a POST /generate does so, too."
        raise Problem(404, "not-fitted", "Not fitted yet", detail) from None


def _spec(upload: Upload, settings: Settings) -> tuple[ProjectSpec | None, list[Complaint]]:
    data = upload.project
    if data is None:
        file = next((file for file in upload.files if file.path == PROJECT_FILE), None)
        if file is None:
            remedy = "add it, or send its JSON as the part `project`"
            return None, [Complaint(file=PROJECT_FILE, message="it is missing", remedy=remedy)]
        try:
            with file.open() as stream:
                data = stream.read(PROJECT_JSON_BYTES + 1)
        except UploadDamaged as error:
            return None, [Complaint(file=PROJECT_FILE, message=str(error), remedy="make the upload anew")]
    if len(data) > PROJECT_JSON_BYTES:
        return None, [Complaint(file=PROJECT_FILE, message=f"it is larger than {PROJECT_JSON_BYTES} bytes")]
    return parse_project(data, settings.max_classes)
