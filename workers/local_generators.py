"""Copies of the store's generators on the worker's own disk."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.records import GeneratorRecord
from service.settings import Settings
from service.stores.protocol import Store
from workers.leftovers import remove_old_folders
from workers.public_errors import JobFailure
from workers.shared_folders import held, remove_unheld

WEIGHTS = "weights.safetensors"
FILES = (WEIGHTS, "encoder.safetensors", "latents.safetensors")
"""What a generator consists of; only the weights must be there."""

KEPT_UNUSED_S = 7 * 24 * 3600.0
"""How long a copy is kept that nobody reads."""

_STAGING = ".fetch-"


def generator_cache(settings: Settings) -> Path:
    """Where this machine keeps copies of generators."""
    return settings.data_dir / "cache" / "generators"


@contextmanager
def local_generator(store: Store, record: GeneratorRecord, cache: Path) -> Iterator[Path]:
    """A local folder with the generator's files, which stays until the end of the `with`: read them before.

    They are downloaded unless this very version of them is there already. Other versions of the generator are removed,
    and so are copies of any that nobody has used for `KEPT_UNUSED_S`, but none that another process is reading.

    Raises `JobFailure` if the weights are not those recorded.
    """
    while True:
        folder = _fetched(store, record, cache)
        with held(folder) as there:  # unless it was removed since
            if there:
                _remove_others(folder)
                yield folder
                return


def _fetched(store: Store, record: GeneratorRecord, cache: Path) -> Path:
    """Where the generator's files lie, downloaded if need be."""
    prefix = f"generators/{record.id}/"
    version = hashlib.sha256(record.sha256.encode())
    files = [stored for stored in store.list(prefix) if stored.key.removeprefix(prefix) in FILES]
    for stored in files:
        version.update(f"{stored.key} {stored.size} {stored.modified.isoformat()}\n".encode())
    folder = cache / f"{record.id}-{version.hexdigest()[:16]}"
    if folder.is_dir():
        return folder

    cache.mkdir(parents=True, exist_ok=True)
    remove_old_folders(cache, f"{_STAGING}*")
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=cache))
    try:
        for stored in files:
            with store.open(stored.key) as source, (staging / stored.key.removeprefix(prefix)).open("wb") as target:
                shutil.copyfileobj(source, target, 2**20)
        if not (staging / WEIGHTS).exists() or file_sha256(staging / WEIGHTS) != record.sha256:
            raise JobFailure(
                "generator-damaged",
                f"The weights of generator {record.id} in the store are not those that were recorded. Upload it again.",
                retry=True,  # they may be just being replaced
            )
        _publish(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def file_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of a generator, by name."""
    return {name: file_sha256(folder / name) for name in FILES if (folder / name).exists()}


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _remove_others(folder: Path) -> None:
    """Other versions of a generator whose folder this is, and what nobody uses."""
    for other in folder.parent.glob("[!.]*"):
        if other != folder:
            same = _generator_id(other) == _generator_id(folder)
            remove_unheld(other, _STAGING, 0.0 if same else KEPT_UNUSED_S)


def _generator_id(folder: Path) -> str:
    return folder.name.rpartition("-")[0]


def _publish(staging: Path, folder: Path) -> None:
    """Give the finished folder its name; another process may have done so first, with the same files."""
    try:
        staging.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
