"""A real API process for the tests of the service."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis as redis_client

from service.ledger import Ledger
from service.records import GeneratorRecord
from service.stores import FileStore
from tests.service.jobs import make_generator

LIMITS = {
    "LABELMINT_MAX_COUNT": "1000",
    "LABELMINT_MAX_UPLOAD_BYTES": str(4 * 2**20),
    "LABELMINT_MAX_UNPACKED_BYTES": str(8 * 2**20),
    "LABELMINT_MAX_IMAGE_PIXELS": "1000000",
    "LABELMINT_MAX_CHECKPOINT_BYTES": str(66 * 2**20),
}


@pytest.fixture(scope="session")
def api_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="session")
def api_url(api_directory: Path, redis_url: str) -> Iterator[str]:
    """The address of a uvicorn process on a free loopback port, with small limits."""
    listener = socket.create_server(("127.0.0.1", 0))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LABELMINT_")} | LIMITS
    environment |= {"LABELMINT_STORE_URL": f"file://{api_directory}/store", "LABELMINT_REDIS_URL": redis_url}
    command = [sys.executable, "-m", "uvicorn", "service.app:create_app", "--factory", "--no-access-log"]
    with (api_directory / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--fd", str(listener.fileno())],
            env=environment,
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
    (api_directory / "pid").write_text(str(process.pid))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    try:
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)


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


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx.get(f"{url}/healthz")
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError("the API did not start")
