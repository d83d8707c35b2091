"""`python -m tests.workers.light_worker [PAUSE_S PATIENCE_S]`: a worker that loads no torch, to test the machinery.

Its settings are the environment's. After an outage it pauses for PAUSE_S, and forgives them for PATIENCE_S.
"""

import sys

from service.ledger import Ledger
from service.log import configure_logging
from service.redis_client import connect
from service.settings import get_settings
from service.stores import open_store
from tests.workers import bodies as bodies
from workers import outages
from workers.worker import ForkingWorker

if __name__ == "__main__":
    if len(sys.argv) > 1:
        outages.PAUSE_S, outages.PATIENCE_S = map(float, sys.argv[1:])
    configure_logging()
    settings = get_settings()
    connection = connect(str(settings.redis_url))
    ledger = Ledger(open_store(settings.store_url, settings.s3_endpoint_url), connection, 3600)
    ForkingWorker(connection, ledger, settings).work(logging_level="WARNING")
