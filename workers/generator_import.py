"""The body of an import: an uploaded checkpoint becomes a generator in the store."""

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from models.architecture import Architecture
from models.bundle import load_generator
from models.checkpoint import CheckpointError, save_tensors
from models.device import choose_device
from models.foreign.importing import import_checkpoint
from service.generators import find_generator
from service.records import GeneratorRecord, Phase, upload_key
from service.requests import ImportRequest
from service.settings import Settings
from service.stores.protocol import ObjectMissing, Store
from workers.generator_uploads import drop_forgotten_uploads, fetch_upload, run_upload_body, scratch_folder
from workers.limited_child import ChildEnded, Limits, run_limited
from workers.local_generators import WEIGHTS
from workers.public_errors import JobFailure
from workers.publish import CPU, publish_generator
from workers.workbench import Cancelled, Workbench

_BYTES_OF_FACTS = 64 * 1024


def run(job_id: str) -> None:
    """Make a generator of the upload that the job names."""
    run_upload_body(job_id, import_generator)


def import_generator(bench: Workbench) -> None:
    """What `run` does, at a given workbench. Raises `Cancelled`, and whatever goes wrong.

    Done again after a kill, it leaves the same objects in the store.
    """
    if not bench.ledger.start(bench.job_id):
        raise Cancelled
    request = bench.job.request
    assert isinstance(request, ImportRequest)  # noqa: S101
    drop_forgotten_uploads(bench)
    known = find_generator(bench.store, request.generator_id)
    if known is not None and known.upload_sha256 != request.sha256:
        message = f"There is another generator called {known.id} by now. Send the file again with another `id`."
        raise JobFailure("generator-id-taken", message)
    if known is None:
        _import(bench, request)
    bench.ledger.succeed(bench.job_id, {})


def _import(bench: Workbench, request: ImportRequest) -> None:
    with scratch_folder(bench, "imports") as folder:
        checkpoint = folder / "checkpoint"
        advance = bench.phase(Phase.IMPORT, _upload_bytes(bench, request))
        fetch_upload(bench, request.sha256, checkpoint, advance)

        def tell(words: str) -> None:
            bench.ledger.tell(bench.job_id, {"step": words})

        _, notes = publish_checkpoint(
            checkpoint, folder, bench.store, bench.settings, request, bench.stop_if_cancelled, tell
        )
        for note in notes:
            bench.ledger.note(bench.job_id, note)


def publish_checkpoint(
    checkpoint: Path,
    folder: Path,
    store: Store,
    settings: Settings,
    request: ImportRequest,
    watch: Callable[[], None],
    progress: Callable[[str], None],
) -> tuple[GeneratorRecord, list[str]]:
    """Put the generator in a stranger's checkpoint into the store, as `request` names it; `folder` receives its files.

    Returns its record, and notes on what was made up or left out. Raises `JobFailure` if it is refused or needs too
    much, and what `watch` and `progress` raise.
    """
    facts = read_checkpoint(checkpoint, folder, settings, watch, progress)
    notes = [str(note) for note in facts.pop("notes", [])]
    source = str(facts.pop("source"))
    progress("drawing samples")
    try:
        record = publish_generator(
            store,
            folder,
            request.generator_id,
            request.name,
            source,
            upload_sha256=request.sha256,
            facts={"import": facts | {"notes": notes}},
            device=choose_device(settings.device),
            watch=watch,
        )
    except CheckpointError as refusal:
        raise JobFailure("import-refused", f"{checkpoint.name}: {refusal}.") from refusal
    return record, notes


def read_checkpoint(
    checkpoint: Path, folder: Path, settings: Settings, watch: Callable[[], None], progress: Callable[[str], None]
) -> dict[str, Any]:
    """Read a stranger's checkpoint in a limited process, and write its generator into `folder`.

    Returns its `source` and what else is worth recording. Raises `JobFailure` if it is refused or needs too much, and
    what `watch` and `progress` raise.
    """
    memory = settings.import_memory_bytes
    limits = Limits(memory_bytes=memory, cpu_s=settings.import_timeout_s, file_bytes=memory)
    try:
        answer = run_limited(partial(_read, checkpoint, folder), limits, watch, progress)
    except ChildEnded:
        raise JobFailure(
            "import-too-large",
            f"Reading the checkpoint took more than {memory} bytes of memory or {settings.import_timeout_s} s, or "
            "crashed the process that read it. If it is a StyleGAN2, save its generator alone and send that, or raise "
            "LABELMINT_IMPORT_MEMORY_BYTES on the workers or LABELMINT_IMPORT_TIMEOUT_S on workers and API.",
        ) from None
    if answer.get("too_large"):
        raise JobFailure(
            "import-too-large",
            f"Reading the checkpoint takes more than {memory} bytes of memory. Save its generator alone and send that, "
            "or raise LABELMINT_IMPORT_MEMORY_BYTES on the workers.",
        )
    if number := answer.get("unwritable"):
        raise OSError(number, os.strerror(number), str(folder / WEIGHTS))
    if refusal := answer.get("refusal"):
        raise JobFailure("import-refused", f"{refusal}.".replace("..", "."))
    facts: dict[str, Any] = answer["facts"]
    _check_size(load_generator(folder / WEIGHTS, CPU).architecture, memory)
    return facts


def _read(checkpoint: Path, folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Runs in the limited process."""
    try:
        imported = import_checkpoint(checkpoint, tell)
    except CheckpointError as refusal:
        return {"refusal": str(refusal)[:2000]}
    except MemoryError:
        return {"too_large": True}
    architecture = imported.generator.architecture.to_dict()
    try:
        save_tensors(folder / WEIGHTS, imported.generator.state_dict(), "generator", {"architecture": architecture})
    except OSError as refusal:
        # The process may write no file that is larger than its memory.
        return {"too_large": True} if refusal.errno == errno.EFBIG else {"unwritable": refusal.errno or errno.EIO}
    facts = imported.facts if len(repr(imported.facts)) < _BYTES_OF_FACTS else {}
    return {"facts": facts | {"source": imported.source}}


def _check_size(architecture: Architecture, memory: int) -> None:
    """Refuse a generator of which not even one image could be made in the memory that an import may take."""
    largest = max(architecture.channels(side) * side**2 for side in architecture.resolutions)
    if 4 * 4 * largest > memory:  # a block's input, output and two results between them, in float32
        message = (
            f"One image of this generator takes {16 * largest} bytes of memory; {memory} are the most. Send a "
            "generator of a lower resolution, or raise LABELMINT_IMPORT_MEMORY_BYTES on the workers."
        )
        raise JobFailure("import-too-large", message)


def _upload_bytes(bench: Workbench, request: ImportRequest) -> int:
    try:
        return bench.store.size(upload_key(request.sha256))
    except ObjectMissing:
        return 0
