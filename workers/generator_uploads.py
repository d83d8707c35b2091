"""Uploads that wait in the store for the worker that makes a generator of them."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from service.generators import drop_upload, generators_lock
from service.job_reader import JobMissing
from service.records import now, upload_key
from service.stores.protocol import ObjectMissing
from workers.leftovers import remove_old_folders
from workers.outages import outlasting_outages
from workers.public_errors import JobFailure
from workers.workbench import Workbench, run_body, workbench

_CHUNK = 2**20
_FORGOTTEN_AFTER = timedelta(hours=1)


def run_upload_body(
    job_id: str, body: Callable[[Workbench], None], rescue: Callable[[Workbench], None] | None = None
) -> None:
    """`run_body`, after which the upload is removed if the job has ended and no other one waits for it."""
    run_body(job_id, body, rescue)
    with outlasting_outages(), workbench(job_id) as bench:
        try:
            job = bench.ledger.get(job_id)
        except JobMissing:
            return
        if job.state.is_terminal:
            with generators_lock(bench.redis):
                drop_upload(bench.store, bench.ledger, getattr(job.request, "sha256", ""))


def fetch_upload(bench: Workbench, sha256: str, target: Path, report: Callable[[int], None]) -> None:
    """Download an upload to the file `target`; `report` hears of the bytes that are there.

    Raises `JobFailure` if it is gone, or not what was sent.
    """
    digest, done = hashlib.sha256(), 0
    try:
        with bench.store.open(upload_key(sha256)) as source, target.open("wb") as file:
            while chunk := source.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                report(done := done + len(chunk))
    except ObjectMissing:
        raise JobFailure("upload-missing", "The upload is no longer in the store. Send the file again.") from None
    if digest.hexdigest() != sha256:
        message = "The upload in the store is not what was sent. Send the file again."
        raise JobFailure("upload-damaged", message)


def drop_forgotten_uploads(bench: Workbench) -> None:
    """Remove uploads whose jobs ended without a worker that could have done so."""
    old = [row for row in bench.store.list("uploads/") if now() - row.modified > _FORGOTTEN_AFTER]
    for row in old:
        with generators_lock(bench.redis):
            drop_upload(bench.store, bench.ledger, row.key.removeprefix("uploads/"))


@contextmanager
def scratch_folder(bench: Workbench, name: str) -> Iterator[Path]:
    """An empty local folder for this job, removed at the end; those that killed workers left a day ago go as well."""
    parent = bench.settings.data_dir / name
    folder = parent / bench.job_id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    remove_old_folders(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
