"""Puts generators into the store, the bundled ones among them."""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from models.bundle import GeneratorBundle, load_bundle
from models.bundled import bundled_folders
from models.checkpoint import CheckpointError
from models.device import choose_device
from models.distances.inception import Inception
from models.inversion.latents import describe_latents
from service.generators import find_generator
from service.records import GeneratorRecord, generator_key, samples_file
from service.settings import Settings
from service.stores import open_store
from service.stores.protocol import ObjectMissing, Store, StoreUnavailable
from workers.lifeline import die_with_parent
from workers.local_generators import FILES, WEIGHTS, file_sha256
from workers.sample_grid import TRUNCATIONS, sample_grid

CPU = torch.device("cpu")


def publish_generator(
    store: Store,
    folder: Path,
    generator_id: str,
    name: str,
    source: str,
    *,
    upload_sha256: str | None = None,
    facts: dict[str, Any] | None = None,
    truncations: Sequence[float] = TRUNCATIONS,
    device: torch.device = CPU,
    watch: Callable[[], None] | None = None,
) -> GeneratorRecord:
    """Put the generator in `folder` into the store with what is known of it, unless it is there as it is.

    The record is written last: a generator that is listed is whole. `provenance.json`, if there, becomes part of it.
    An encoder that the store has for these very weights stays, where `folder` brings none.

    Args:
        upload_sha256: of the uploaded file it was made from, if it was.
        facts: added to its provenance.
        truncations: at which its samples are drawn now; at others they are when somebody asks for them.
        device: where they are drawn.
        watch: called while they are drawn; may raise.

    Raises:
        CheckpointError: the files are not a generator's.
    """
    bundle = load_bundle(folder, device)
    known = find_generator(store, generator_id)
    provenance_file = folder / "provenance.json"
    provenance = json.loads(provenance_file.read_text()) if provenance_file.exists() else {}
    record = _record(bundle, generator_id, name).model_copy(
        update={
            "sha256": file_sha256(folder / WEIGHTS),
            "upload_sha256": upload_sha256,
            "source": source,
            "provenance": provenance | (facts or {}),
        }
    )
    if known is not None and known.sha256 == record.sha256 and known.has_encoder and not record.has_encoder:
        kept = {key: known.provenance[key] for key in ("encoder",) if key in known.provenance}
        record = record.model_copy(update={"has_encoder": True, "provenance": record.provenance | kept})
    files = {generator_key(generator_id, file): folder / file for file in FILES if (folder / file).exists()}
    if known is not None and _is_same(known, record) and _are_there(store, files, generator_id, truncations):
        return known
    _remove_stale(store, record, known)
    for key, file in files.items():
        with file.open("rb") as stream:
            store.put(key, stream)
    _put_latents(store, generator_id, bundle)
    for truncation in truncations:
        store.put(
            generator_key(generator_id, samples_file(truncation)), sample_grid(bundle.generator, truncation, watch)
        )
    store.put(GeneratorRecord.key(generator_id), record.model_dump_json(indent=1).encode())
    return record


def _record(bundle: GeneratorBundle, generator_id: str, name: str) -> GeneratorRecord:
    """What the network itself says."""
    latents = describe_latents(bundle.generator, bundle.latents)
    if not all(map(math.isfinite, latents.values())):
        raise CheckpointError(f"{WEIGHTS}: its latents are not finite numbers; the weights are damaged")
    architecture = bundle.generator.architecture
    return GeneratorRecord(
        id=generator_id,
        name=name,
        resolution=bundle.resolution,
        w_dim=bundle.w_dim,
        num_ws=bundle.num_ws,
        parameters=bundle.parameters,
        sha256="",
        source="",
        has_encoder=bundle.encoder is not None,
        conditions=architecture.c_dim,
        architecture=json.loads(json.dumps(architecture.to_dict())),  # lists instead of tuples, as it is read back
        latents=latents,
    )


def _put_latents(store: Store, generator_id: str, bundle: GeneratorBundle) -> None:
    """Store the latent statistics that were measured, unless there are any."""
    key = generator_key(generator_id, "latents.safetensors")
    if not store.exists(key):
        with TemporaryDirectory() as scratch:
            bundle.latents.save(Path(scratch) / "latents.safetensors")
            store.put(key, (Path(scratch) / "latents.safetensors").read_bytes())


def _is_same(known: GeneratorRecord, record: GeneratorRecord) -> bool:
    """Figures may round differently on another machine."""
    return known == record.model_copy(update={"created": known.created, "latents": known.latents})


def _remove_stale(store: Store, record: GeneratorRecord, known: GeneratorRecord | None) -> None:
    """Forget what was learnt about other weights under this id.

    First the record, so that a generator that is listed is whole; but that of a bundled one stays, since projects use
    it, and the next worker that starts completes what this one leaves.
    """
    if known is not None and known.sha256 == record.sha256:
        return
    if known is not None and known.source != "bundled":
        store.delete(GeneratorRecord.key(record.id))
    for row in store.list(f"generators/{record.id}/"):
        if row.key not in (GeneratorRecord.key(record.id), generator_key(record.id, WEIGHTS)):
            store.delete(row.key)


def publish_bundled(store: Store) -> None:
    """Put every generator that comes with labelmint into the store, without pictures: a worker should start soon."""
    for folder in bundled_folders():
        name = folder.name.replace("-", " ").capitalize()
        publish_generator(store, folder, folder.name, name, "bundled", truncations=())


def prepare_in_child(settings: Settings) -> None:
    """Check the device and the weights that settings name, and publish the bundled generators, in a process of its own.

    All of it calls on torch or CUDA, which a worker must not before it forks. Raises `StoreUnavailable`, and
    `RuntimeError` if anything else of it fails: with the setting that is wrong and what to do, or else after the child
    has said on stderr what happened.
    """
    fork = get_context("fork")
    refusals, refuse = fork.Pipe(duplex=False)
    with refusals, refuse:
        child = fork.Process(target=_prepare, args=(settings, refuse, os.getpid()))
        child.start()
        child.join()
        if child.exitcode != 0:
            raise refusals.recv() if refusals.poll() else RuntimeError("the worker cannot start")


def _prepare(settings: Settings, refuse: Connection, parent_pid: int) -> None:
    die_with_parent(parent_pid)
    with _named_to(refuse, "LABELMINT_DEVICE"):
        choose_device(settings.device)
    if settings.lpips_weights is not None:
        from models.inversion.perceptual import PerceptualDistance  # takes seconds to load

        backbone = settings.lpips_backbone
        remedy = f"name the file of torchvision's {backbone} (LABELMINT_LPIPS_BACKBONE) where this worker finds it"
        with _named_to(refuse, "LABELMINT_LPIPS_WEIGHTS", f"; {remedy}, or leave the setting out"):
            PerceptualDistance(backbone, settings.lpips_weights)
    if settings.inception_weights is not None:
        remedy = "name the file where this worker finds it, or leave the setting out"
        with _named_to(refuse, "LABELMINT_INCEPTION_WEIGHTS", f"; {remedy}"):
            Inception(settings.inception_weights)
    try:
        publish_bundled(open_store(settings.store_url, settings.s3_endpoint_url))
    except StoreUnavailable as outage:
        refuse.send(outage)
        raise SystemExit(1) from None


@contextmanager
def _named_to(refuse: Connection, setting: str, remedy: str = "") -> Iterator[None]:
    """Ends the process if the value of a setting is refused, after telling which and what to do."""
    try:
        yield
    except ValueError as refusal:
        refuse.send(RuntimeError(f"{setting}: {refusal}{remedy}"))
        raise SystemExit(1) from None


def _are_there(store: Store, files: dict[str, Path], generator_id: str, truncations: Sequence[float]) -> bool:
    try:
        whole = all(store.size(key) == file.stat().st_size for key, file in files.items())
    except ObjectMissing:
        return False
    drawn = [samples_file(truncation) for truncation in truncations]
    return whole and all(store.exists(generator_key(generator_id, file)) for file in ("latents.safetensors", *drawn))
