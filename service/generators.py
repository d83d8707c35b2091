"""The generators in the store, as the API sees them: their records, and who may change them when."""

import base64
from collections.abc import Iterator
from contextlib import AbstractContextManager

import redis
from pydantic import ValidationError

from service.ledger import Ledger
from service.locks import brief_lock
from service.records import GeneratorRecord, JobRecord, upload_key
from service.requests import ImportRequest, TrainingChoices, TrainRequest
from service.stores.protocol import InvalidKey, ObjectMissing, Store

JOB_PREFIX = "gen-"
"""Ids of jobs about generators begin with it, so that they are found among a million others."""


def find_generator(store: Store, generator_id: str) -> GeneratorRecord | None:
    """The generator with this id, or None; that of a later version counts as missing."""
    try:
        return GeneratorRecord.model_validate_json(store.read(GeneratorRecord.key(generator_id)))
    except (ObjectMissing, InvalidKey, ValidationError):
        return None


def every_generator(store: Store) -> Iterator[GeneratorRecord]:
    """All of them, by id."""
    for generator_id in store.folders("generators/"):
        generator = find_generator(store, generator_id)
        if generator is not None:
            yield generator


def derived_id(sha256: str) -> str:
    """The id of what is made of a file with this hash, unless another is asked for: 60 bits of it."""
    return "g" + base64.b32encode(bytes.fromhex(sha256))[:12].decode().lower()


def training_of(request: TrainRequest) -> dict[str, object]:
    """What, besides the images, decides which generator a training makes; kept in its provenance."""
    return request.model_dump(include={"resolution", *TrainingChoices.model_fields})


def generators_lock(connection: redis.Redis) -> AbstractContextManager[None]:
    """Let one process at a time decide what becomes of generators and their uploads; for moments only.

    Raises `LockBusy` if another one does not end, and errors of Redis.
    """
    return brief_lock(connection, "generators")


def unfinished_jobs(ledger: Ledger) -> Iterator[JobRecord]:
    """The jobs that make or change a generator and have not ended."""
    return ledger.unfinished(JOB_PREFIX)


def unfinished_in_store(store: Store) -> Iterator[JobRecord]:
    """The same by the store's word, for who has no Redis at hand: one record is read for each such job there was."""
    for row in store.list(f"jobs/{JOB_PREFIX}"):
        if row.key.endswith("/job.json"):
            try:
                job = JobRecord.model_validate_json(store.read(row.key))
            except (ObjectMissing, ValueError):  # it was deleted, or another version wrote it
                continue
            if not job.state.is_terminal:
                yield job


def drop_upload(store: Store, ledger: Ledger, sha256: str) -> None:
    """Remove an upload that no unfinished job waits for. Call it under the `generators_lock`."""
    for job in unfinished_jobs(ledger):
        if isinstance(job.request, ImportRequest | TrainRequest) and job.request.sha256 == sha256:
            return
    store.delete(upload_key(sha256))
