"""A real API process for the tests of the service."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis as redis_client

from service import locks
from service.ledger import Ledger
from service.records import GeneratorRecord, JobRecord
from service.stores import FileStore
from tests.service.jobs import make_generator, make_job
from tests.service.processes import api_process

LIMITS = {
    "LABELMINT_MAX_COUNT": "1000",
    "LABELMINT_MAX_UPLOAD_BYTES": str(4 * 2**20),
    "LABELMINT_MAX_UNPACKED_BYTES": str(8 * 2**20),
    "LABELMINT_MAX_IMAGE_PIXELS": "1000000",
    "LABELMINT_MAX_CHECKPOINT_BYTES": str(66 * 2**20),
}

SHORT_LIFE_S = 0.6


@pytest.fixture
def short_life(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Locks have `SHORT_LIFE_S` left when their holder is killed, and no thread is left of them in the end."""
    keeper = locks._Keeper()
    monkeypatch.setattr(locks, "_LIFE_S", SHORT_LIFE_S)
    monkeypatch.setattr(locks, "_keeper", keeper)  # that of tests before may look seldom
    yield
    thread = keeper._thread
    if thread is not None:
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def ledger(store: FileStore, redis: redis_client.Redis) -> Ledger:
    return Ledger(store, redis, ttl_s=100)


@pytest.fixture
def job(ledger: Ledger) -> JobRecord:
    """A job that the ledger has accepted."""
    return ledger.accept(make_job())


@pytest.fixture(scope="session")
def api_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="session")
def api_url(api_directory: Path, redis_url: str) -> Iterator[str]:
    """The address of an API process with small limits."""
    with api_process(api_directory, redis_url, **LIMITS) as api:
        (api_directory / "pid").write_text(str(api.process.pid))
        yield api.url


@pytest.fixture
def api_store(api_url: str, api_directory: Path, redis: redis_client.Redis) -> FileStore:
    """The store of the API process, holding nothing but a generator `toy` of 64 pixels."""
    store = FileStore(api_directory / "store")
    for row in list(store.list()):
        store.delete(row.key)
    toy = make_generator()
    store.put(GeneratorRecord.key(toy.id), toy.model_dump_json().encode())
    return store


@pytest.fixture
def api_ledger(api_store: FileStore, redis: redis_client.Redis) -> Ledger:
    """The ledger of the API process, as a worker sees it."""
    return Ledger(api_store, redis, 1000)


@pytest.fixture
def api(api_url: str, api_store: FileStore) -> Iterator[httpx.Client]:
    """A client of the API process with an empty store."""
    with httpx.Client(base_url=api_url, timeout=30) as client:
        yield client
