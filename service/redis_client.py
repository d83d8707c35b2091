"""How every part of the service connects to Redis."""

import re
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

_DATABASE = re.compile(r"/?[0-9]*/?")


def connect(url: str) -> redis.Redis:
    """A client for the server at `url`; nothing is sent until its first command.

    Replies are bytes, as RQ needs them. A broken connection is made anew a few times before a command fails with
    `redis.exceptions.ConnectionError` or `TimeoutError`.
    """
    # Connections by a Unix socket know no such option, nor need it.
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=2,
        socket_timeout=10,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=3),
        **keepalive,
    )


def check_url(url: str) -> None:
    """Raises `ValueError` unless `connect` makes a client of `url` that can try to reach a server.

    The error repeats nothing of what may be a password.
    """
    try:
        _ = urlsplit(url).port
    except ValueError:  # whose words have a part of the URL in them
        raise ValueError(
            "a Redis URL is redis://:PASSWORD@HOST:PORT/DATABASE, with %, /, ? and # of the password written as %25, "
            "%2F, %3F and %23"
        ) from None
    try:
        connect(url).connection_pool.make_connection()  # which sends nothing yet, but looks at what follows the ?
    except TypeError as error:
        raise ValueError("Redis URL has an option after the ? that there is not") from error
    parts = urlsplit(url)
    # The client would go to database 0 without a word, perhaps to somebody else's.
    if parts.scheme != "unix" and not _DATABASE.fullmatch(unquote(parts.path)):
        raise ValueError("what follows the host in a Redis URL is the number of a database, as in redis://host:6379/0")
