"""From an upload to a generator: the one that was made of it before, or a job that makes it."""

import hashlib
import json
from contextlib import suppress

from service.accepting import accept_job, accepted_before
from service.dependencies import Parts
from service.generator_upload import GeneratorUpload, TrainingSpec
from service.generators import (
    JOB_PREFIX,
    derived_id,
    drop_upload,
    every_generator,
    find_generator,
    generators_lock,
    training_of,
    unfinished_jobs,
)
from service.problems import Complaint, Problem, invalid_request
from service.records import GeneratorRecord, JobRecord, upload_key
from service.requests import EncodeRequest, ImportRequest, TrainRequest
from service.stores.protocol import Store

MakeRequest = ImportRequest | TrainRequest


def make_generator(upload: GeneratorUpload, idempotency_key: str | None, parts: Parts) -> GeneratorRecord | JobRecord:
    """The generator made of this very upload, the unfinished job that makes it, or a new job.

    An upload is kept in the store as long as an unfinished job waits for it. Raises `Problem`: 422 for settings that
    cannot be, 409 if the id belongs to another generator; and errors of Redis and the store. Nothing is kept then.
    """
    request = _request(upload, parts.store)
    chosen = upload.generator_id is not None
    kept = False
    while True:
        with generators_lock(parts.redis):
            found = _made_before(request, chosen, parts)
            if found is not None:
                if kept:
                    drop_upload(parts.store, parts.ledger, upload.sha256)
                return found
            if kept and parts.store.exists(upload_key(upload.sha256)):
                return _accepted(request, idempotency_key, parts)
        # Not under the lock, for it may take minutes; a job that ends just now may remove it again.
        upload.file.seek(0)
        parts.store.put(upload_key(upload.sha256), upload.file)
        kept = True


def make_encoder(generator_id: str, idempotency_key: str | None, parts: Parts) -> GeneratorRecord | JobRecord | None:
    """The generator if it has an encoder, else the job that trains one. Of a generator that is gone, the job that came
    of this key while it was there, or None."""
    request = EncodeRequest(generator_id=generator_id)
    with generators_lock(parts.redis):
        record = find_generator(parts.store, generator_id)
        if record is None:
            return accepted_before(request, idempotency_key, parts.ledger, JOB_PREFIX)
        if record.has_encoder:
            return record
        for job in unfinished_jobs(parts.ledger):
            if isinstance(job.request, EncodeRequest) and job.generator_id == generator_id:
                return job
        return accept_job(request, idempotency_key, parts.ledger, parts.queue, JOB_PREFIX)


def _request(upload: GeneratorUpload, store: Store) -> MakeRequest:
    if upload.training is None:
        generator_id = upload.generator_id or derived_id(upload.sha256)
        return ImportRequest(generator_id=generator_id, name=upload.name or generator_id, sha256=upload.sha256)
    spec = upload.training
    settings = spec.model_dump() | {"resolution": _resolution(spec, store)}
    digest = hashlib.sha256((upload.sha256 + json.dumps(settings, sort_keys=True)).encode()).hexdigest()
    generator_id = upload.generator_id or derived_id(digest)
    name = upload.name or generator_id
    return TrainRequest.model_validate(
        {**settings, "generator_id": generator_id, "name": name, "sha256": upload.sha256}
    )


def _resolution(spec: TrainingSpec, store: Store) -> int:
    if spec.start is None:
        return spec.resolution or 64
    start = find_generator(store, spec.start)
    if start is None:
        remedy = "GET /generators lists those there are"
        raise invalid_request([Complaint(field="settings.start", message="there is no such generator", remedy=remedy)])
    if start.conditions:
        message = f"generator {start.id} has classes, and a generator with classes cannot be trained"
        remedy = "name one without classes, or train without `start`"
        raise invalid_request([Complaint(field="settings.start", message=message, remedy=remedy)])
    if spec.resolution not in (None, start.resolution):
        message = f"generator {start.id} makes images of {start.resolution} pixels a side"
        remedy = "leave `resolution` out, or train without `start`"
        raise invalid_request([Complaint(field="settings.resolution", message=message, remedy=remedy)])
    return start.resolution


def _made_before(request: MakeRequest, chosen: bool, parts: Parts) -> GeneratorRecord | JobRecord | None:
    """What this upload became before; with a `chosen` id, only under that id.

    Raises `Problem` (409) if the id belongs to something else.
    """
    for record in [find_generator(parts.store, request.generator_id)] if chosen else every_generator(parts.store):
        if record is not None and _is_made_by(record, request):
            return record
        if record is not None and record.id == request.generator_id:
            raise _taken(request.generator_id)
    for job in unfinished_jobs(parts.ledger):
        if isinstance(job.request, MakeRequest):
            if _are_alike(job.request, request) and not (chosen and job.generator_id != request.generator_id):
                return job
            if job.generator_id == request.generator_id:
                raise _taken(request.generator_id)
    return None


def _is_made_by(record: GeneratorRecord, request: MakeRequest) -> bool:
    training = training_of(request) if isinstance(request, TrainRequest) else None
    return record.upload_sha256 == request.sha256 and record.provenance.get("training_request") == training


def _are_alike(one: MakeRequest, other: MakeRequest) -> bool:
    names = {"generator_id", "name"}
    return one.model_dump(exclude=names) == other.model_dump(exclude=names)


def _taken(generator_id: str) -> Problem:
    detail = (
        f"There is another generator called {generator_id}, or a job that makes one. Choose another `id`, or leave it "
        "out. Nothing was kept."
    )
    return Problem(409, "generator-id-taken", "Generator id taken", detail)


def _accepted(request: MakeRequest, idempotency_key: str | None, parts: Parts) -> JobRecord:
    try:
        job = accept_job(request, idempotency_key, parts.ledger, parts.queue, JOB_PREFIX)
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            drop_upload(parts.store, parts.ledger, request.sha256)
        raise
    if job.state.is_terminal:  # an old one, found by its key
        drop_upload(parts.store, parts.ledger, request.sha256)
    return job
