"""The folder of a training run, and the copy of it in the store that lets another machine go on."""

import json
import shutil
from pathlib import Path

from models.training.checkpoints import NEWEST, PREVIOUS, has_checkpoint, read_checkpoint
from service.records import training_key
from service.stores.protocol import ObjectMissing, Store
from workers.training_starts import run_folder
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
    folder = run_folder(bench.settings.data_dir, bench.job_id)
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
            # A sheet that is drawn again looks much the same; a snapshot goes with the checkpoint of its time.
            if file.suffix != ".png" or stored.get(key) != file.stat().st_size:
                with file.open("rb") as stream:
                    store.put(key, stream)
    store.put(training_key(job_id, _FACTS), json.dumps({"images": images}).encode())
    for key in stored.keys() - kept - {training_key(job_id, _FACTS)}:
        store.delete(key)


def fetch_run(store: Store, job_id: str, folder: Path) -> int:
    """Take the run up from the store, unless this machine's own copy of it is as far.

    Returns the images shown until the checkpoint that is here then; -1 if there is none.
    """
    here = _images_shown(folder)
    try:
        images = json.loads(store.read(training_key(job_id, _FACTS)))["images"]
    except ObjectMissing:
        return here
    if here >= images:
        return here
    log.info("training goes on from the store", images=images)
    rows = [row.key.removeprefix(training_key(job_id, "")) for row in store.list(training_key(job_id, ""))]
    # The checkpoint last, as it was stored: with it, the copy here counts as whole.
    for name in sorted(set(rows) - {_FACTS}, key=lambda name: name == NEWEST):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        with store.open(training_key(job_id, name)) as source, partial.open("wb") as file:
            shutil.copyfileobj(source, file, 2**20)
        partial.replace(target)
    return _images_shown(folder)


def drop_run(bench: Workbench) -> None:
    """Forget the job's run, here and in the store."""
    shutil.rmtree(training_folder(bench), ignore_errors=True)
    bench.store.delete_prefix(training_key(bench.job_id, ""))


def known_runs(bench: Workbench) -> set[str]:
    """The ids of the jobs of which there is a run, here or in the store."""
    stored = {row.key.split("/")[1] for row in bench.store.list("trainings/")}
    parent = bench.settings.data_dir / "trainings"
    return stored | ({folder.name for folder in parent.iterdir()} if parent.is_dir() else set())


def _images_shown(folder: Path) -> int:
    """Until the local checkpoint; -1 if there is none that can be read. Damaged ones are removed."""
    if not has_checkpoint(folder):
        return -1
    try:
        state = read_checkpoint(folder)
    except ValueError:
        log.warning("all checkpoints of a training are damaged", folder=str(folder))
        for name in (NEWEST, PREVIOUS):
            (folder / name).unlink(missing_ok=True)
        return -1
    return int(state["shown"]) if state is not None else -1
