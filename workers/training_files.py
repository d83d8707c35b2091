"""The folder of a training run, and the copy of it in the store that lets another machine go on."""

import json
import shutil
from pathlib import Path

import torch

from models.training.checkpoints import NEWEST, has_checkpoint, read_checkpoint
from service.ledger import JobMissing
from service.records import training_key
from service.stores.protocol import ObjectMissing, Store
from workers.workbench import Workbench, log

_FACTS = "facts.json"
_KEPT = (
    "snapshots/*.safetensors",
    "sheets/*.png",
    "weights.safetensors",
    "evaluations.json",
    "provenance.json",
    NEWEST,
)
"""In the order in which they are stored: a checkpoint never knows more than what lies beside it."""


def training_folder(bench: Workbench) -> Path:
    """Where this machine keeps the job's run; made if need be."""
    folder = bench.settings.data_dir / "trainings" / bench.job_id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_run(store: Store, job_id: str, folder: Path, images: int) -> None:
    """Copy what a run needs to go on into the store; `images` were shown until its checkpoint, or a few more."""
    stored = {row.key: row.size for row in store.list(training_key(job_id, ""))}
    kept = set()
    for pattern in _KEPT:
        for file in sorted(folder.glob(pattern)):
            key = training_key(job_id, file.relative_to(folder).as_posix())
            kept.add(key)
            # Files in folders are named by the images shown until then, and never change.
            if file.parent == folder or stored.get(key) != file.stat().st_size:
                with file.open("rb") as stream:
                    store.put(key, stream)
    store.put(training_key(job_id, _FACTS), json.dumps({"images": images}).encode())
    for key in stored.keys() - kept - {training_key(job_id, _FACTS)}:
        store.delete(key)


def fetch_run(store: Store, job_id: str, folder: Path) -> None:
    """Take the run up from the store, unless this machine's own copy of it is as far."""
    try:
        images = json.loads(store.read(training_key(job_id, _FACTS)))["images"]
    except ObjectMissing:
        return
    if _images_shown(folder) >= images:
        return
    log.info("training goes on from the store", images=images)
    for row in list(store.list(training_key(job_id, ""))):
        name = row.key.removeprefix(training_key(job_id, ""))
        if name != _FACTS:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            with store.open(row.key) as source, partial.open("wb") as file:
                shutil.copyfileobj(source, file, 2**20)
            partial.replace(target)


def drop_run(bench: Workbench) -> None:
    """Forget the job's run, here and in the store."""
    shutil.rmtree(training_folder(bench), ignore_errors=True)
    bench.store.delete_prefix(training_key(bench.job_id, ""))


def drop_forgotten_runs(bench: Workbench) -> None:
    """Remove the runs of jobs that ended without a worker that could have done so, here and in the store."""
    stored = {row.key.split("/")[1] for row in bench.store.list("trainings/")}
    parent = bench.settings.data_dir / "trainings"
    local = {folder.name for folder in parent.iterdir()} if parent.is_dir() else set()
    for job_id in stored | local:
        if _has_ended(bench, job_id):
            shutil.rmtree(parent / job_id, ignore_errors=True)
            bench.store.delete_prefix(training_key(job_id, ""))


def _has_ended(bench: Workbench, job_id: str) -> bool:
    try:
        return bench.ledger.get(job_id).state.is_terminal
    except JobMissing:
        return True


def _images_shown(folder: Path) -> int:
    """Until the local checkpoint; -1 if there is none that can be read."""
    if not has_checkpoint(folder):
        return -1
    try:
        state = read_checkpoint(folder, torch.device("cpu"))
    except ValueError:
        shutil.rmtree(folder)
        folder.mkdir()
        return -1
    return int(state["shown"]) if state is not None else -1
