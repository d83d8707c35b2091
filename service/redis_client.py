"""How every part of the service connects to Redis."""

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry


def connect(url: str) -> redis.Redis:
    """A client for the server at `url`; nothing is sent until its first command.

    Replies are bytes, as RQ needs them. A broken connection is made anew a few times before a command fails with
    `redis.exceptions.ConnectionError` or `TimeoutError`.
    """
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=2,
        socket_timeout=10,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=3),
    )
