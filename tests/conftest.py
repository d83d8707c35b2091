"""What tests of every room share: a real Redis-compatible server, a store, settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_client
from moto.server import ThreadedMotoServer

from service.embedded_redis import EmbeddedRedis
from service.redis_client import connect
from service.settings import Settings
from service.stores import FileStore


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of one server process for the whole run."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def redis(redis_url: str) -> Iterator[redis_client.Redis]:
    """A client of an empty Redis."""
    client = connect(redis_url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """An empty store of files."""
    return FileStore(tmp_path / "store")


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """Settings of a service that keeps everything below `tmp_path`, and trains poor encoders in no time."""
    return Settings(
        _env_file=None,
        store_url=f"file://{tmp_path / 'store'}",
        redis_url=redis_url,
        data_dir=tmp_path / "data",
        encoder_steps=6,
    )


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 server that speaks HTTP on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
