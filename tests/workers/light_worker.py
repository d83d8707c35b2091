"""`python -m tests.workers.light_worker STORE_URL REDIS_URL`: a worker that loads no torch, to test the machinery."""

import sys

from service.ledger import Ledger
from service.redis_client import connect
from service.stores import open_store
from tests.workers import bodies as bodies
from workers.worker import ForkingWorker

if __name__ == "__main__":
    connection = connect(sys.argv[2])
    ForkingWorker(connection, Ledger(open_store(sys.argv[1]), connection, 3600)).work(logging_level="INFO")
