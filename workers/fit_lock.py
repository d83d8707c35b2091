"""Lets one worker at a time fit a given labeler, so that two jobs of one project fit once."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import redis

from workers.lease import lease


def fit_lock(
    connection: redis.Redis, key: str, holder: str, wait: Callable[[], bool]
) -> AbstractContextManager[Callable[[], None] | None]:
    """The `lease` on the labeler `key`, for the job `holder`."""
    return lease(connection, f"fit:{key}", holder, wait)
