"""What is said of uploads while the disk that they are looked at on is full."""

import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.records import GeneratorRecord
from service.settings import Settings
from service.stores import FileStore
from tests.service.generator_uploads import PICKLE, post
from tests.service.jobs import make_generator
from tests.service.uploads import good_files, post_files, post_zip, zipped

FULL = Path("/dev/full")
NOISE = np.random.default_rng(0).bytes(40_000)


@pytest.fixture
def client(settings: Settings, store: FileStore) -> TestClient:
    """Of an API whose store knows one generator."""
    toy = make_generator()
    store.put(GeneratorRecord.key(toy.id), toy.model_dump_json().encode())
    return TestClient(create_app(settings))


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    if not FULL.exists():
        pytest.skip("there is no file here that is always full")

    def on_the_full_disk(**_: Any) -> IO[bytes]:
        return FULL.open("r+b")

    monkeypatch.setattr(tempfile, "TemporaryFile", on_the_full_disk)


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("what", ["a body", "a member of a zip", "a checkpoint"])
def test_a_full_disk_is_not_the_uploads_fault(client: TestClient, store: FileStore, what: str) -> None:
    if what == "a body":
        answer = post_files(client, good_files() | {"images/bear00.png": NOISE * 3})
    elif what == "a member of a zip":
        data = zipped(good_files() | {"images/bear00.png": NOISE + bytes(6 * 2**20)})
        assert len(data) < 64 * 1024, "the zip itself stays in memory"
        answer = post_zip(client, data)
    else:
        answer = post(client, "checkpoint", PICKLE + NOISE * 3)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    problem = answer.json()
    assert problem["type"] == "/problems/temp-full"
    assert "TMPDIR" in problem["detail"]
    assert tempfile.gettempdir() not in answer.text
    assert [row.key for row in store.list()] == ["generators/toy/generator.json"]


@pytest.mark.usefixtures("full_disk")
def test_what_is_small_needs_no_disk(client: TestClient) -> None:
    assert post_zip(client, zipped(good_files(1))).status_code == 201
