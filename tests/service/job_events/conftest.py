"""An API process whose streams are quick to give signs of life, and a job of it to follow."""

from collections.abc import Iterator

import pytest
from redis import Redis

from service.ledger import Ledger
from service.records import JobRecord
from service.stores import FileStore
from tests.service.jobs import make_job
from tests.service.processes import Api, api_process

QUICK_S = 0.4


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Api]:
    """An API process that lets nothing rest for longer than `QUICK_S`."""
    with api_process(tmp_path_factory.mktemp("quick"), redis_url, QUICK_S) as api:
        yield api


@pytest.fixture
def ledger(quick: Api, redis: Redis) -> Ledger:
    """The ledger of the API process, as a worker sees it; empty."""
    store = FileStore(quick.log.parent / "store")
    for row in list(store.list()):
        store.delete(row.key)
    return Ledger(store, redis, 1000)


@pytest.fixture
def job(ledger: Ledger) -> JobRecord:
    return ledger.accept(make_job())


@pytest.fixture
def url(quick: Api, job: JobRecord) -> str:
    return f"{quick.url}/jobs/{job.id}/events"
