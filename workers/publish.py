"""Puts generators into the store, the bundled ones among them."""

import json
import sys
from multiprocessing import get_context
from pathlib import Path

import torch

from models.bundle import load_bundle
from models.bundled import bundled_folders
from models.device import choose_device
from service.generators import find_generator
from service.records import GeneratorRecord
from service.settings import Settings
from service.stores import open_store
from service.stores.protocol import ObjectMissing, Store
from workers.local_generators import FILES, WEIGHTS, file_sha256


def publish_generator(store: Store, folder: Path, generator_id: str, name: str, source: str) -> GeneratorRecord:
    """Put the generator in `folder` into the store, unless it is there as it is.

    The record is written last: a generator that is listed is whole. `provenance.json`, if there, becomes part of it.
    Raises `models.checkpoint.CheckpointError` if the files are not a generator's.
    """
    bundle = load_bundle(folder, torch.device("cpu"))
    provenance_file = folder / "provenance.json"
    record = GeneratorRecord(
        id=generator_id,
        name=name,
        resolution=bundle.resolution,
        w_dim=bundle.w_dim,
        num_ws=bundle.num_ws,
        parameters=bundle.parameters,
        sha256=file_sha256(folder / WEIGHTS),
        source=source,
        has_encoder=bundle.encoder is not None,
        provenance=json.loads(provenance_file.read_text()) if provenance_file.exists() else {},
    )
    files = {f"generators/{generator_id}/{file}": folder / file for file in FILES if (folder / file).exists()}
    known = find_generator(store, generator_id)
    if known is not None and known == record.model_copy(update={"created": known.created}) and _are_there(store, files):
        return known
    for key, file in files.items():
        with file.open("rb") as stream:
            store.put(key, stream)
    store.put(GeneratorRecord.key(generator_id), record.model_dump_json(indent=1).encode())
    return record


def publish_bundled(store: Store) -> None:
    """Put every generator that comes with labelmint into the store."""
    for folder in bundled_folders():
        publish_generator(store, folder, folder.name, folder.name.replace("-", " ").capitalize(), "bundled")


def prepare_in_child(settings: Settings) -> None:
    """Check the device and publish the bundled generators, in a process of its own.

    Both call on torch or CUDA, which a worker must not before it forks. Raises `RuntimeError` if either fails; the
    child has then said why on stderr.
    """
    child = get_context("fork").Process(target=_prepare, args=(settings,))
    child.start()
    child.join()
    if child.exitcode != 0:
        raise RuntimeError("the worker cannot start")


def _prepare(settings: Settings) -> None:
    try:
        choose_device(settings.device)
    except ValueError as refusal:
        sys.exit(f"LABELMINT_DEVICE: {refusal}")
    publish_bundled(open_store(settings.store_url, settings.s3_endpoint_url))


def _are_there(store: Store, files: dict[str, Path]) -> bool:
    try:
        return all(store.size(key) == file.stat().st_size for key, file in files.items())
    except ObjectMissing:
        return False
