"""What workers that died had begun to write to the store, removed by those that start."""

from datetime import timedelta

import structlog

from service.settings import Settings
from service.stores.protocol import ObjectMissing, Store, StoreUnavailable

log = structlog.get_logger(__name__)

_DAY_S = 24 * 3600


def drop_leftovers(store: Store, settings: Settings) -> None:
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
