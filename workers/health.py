"""`python -m workers.health`: exits with 0 if a worker of this host gave a sign of life lately, with 1 otherwise."""

import socket
import sys

from rq import worker_registration

from service.queue import QUEUE_NAME
from service.redis_client import connect
from service.settings import get_settings


def is_healthy(redis_url: str) -> bool:
    """Whether Redis holds a living trace of a worker of this host."""
    connection = connect(redis_url)
    try:
        keys = connection.smembers(worker_registration.WORKERS_BY_QUEUE_KEY % QUEUE_NAME)
        return any(connection.hget(key, "hostname") == socket.gethostname().encode() for key in keys)
    finally:
        connection.close()


if __name__ == "__main__":
    url = get_settings().redis_url
    sys.exit(0 if url is not None and is_healthy(url) else 1)
