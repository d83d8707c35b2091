"""What workers that died left behind, in the store and on this machine's disk."""

import shutil
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import structlog

from service.settings import Settings
from service.stores.protocol import ObjectMissing, Store, StoreUnavailable

log = structlog.get_logger(__name__)

_DAY_S = 24 * 3600


def drop_half_written(store: Store, settings: Settings) -> None:
    """Remove half-written objects that are older than a day and than any part of a job may write at one.

    A store that does not allow it keeps them; the log says so.
    """
    # Every other part writes files that are complete already.
    older_than = timedelta(seconds=max(_DAY_S, settings.shard_timeout_s, settings.package_timeout_s))
    try:
        count = store.drop_unfinished(older_than)
    except (StoreUnavailable, ObjectMissing) as refusal:
        log.warning("half-written objects may be left in the store: they cannot be looked for", reason=str(refusal))
        return
    if count:
        log.info("removed half-written objects", count=count)


def remove_old_folders(parent: Path, pattern: str = "*") -> None:
    """Remove the folders in `parent` whose names match `pattern` and that nobody has written to for a day."""
    for folder in parent.glob(pattern):
        with suppress(FileNotFoundError):  # another worker may be removing it, too
            if folder.stat().st_mtime < time.time() - _DAY_S:
                shutil.rmtree(folder, ignore_errors=True)
