"""Generators over HTTP: deleting, encoders, samples; without any worker."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis as redis_client
from fastapi.testclient import TestClient

from service.app import create_app
from service.generator_removal import remove_generator
from service.label_schema import LabelClass
from service.ledger import Ledger
from service.problems import Problem
from service.records import GeneratorRecord, JobState, ProjectRecord
from service.settings import Settings
from service.stores import FileStore
from tests.service.generator_uploads import IMAGES, add_generator, kept, post
from tests.service.jobs import make_generator
from tests.service.uploads import good_files, post_files, zipped

CLASSES = [LabelClass(name="cat", color="#000000"), LabelClass(name="rest", color="#ffffff")]


def test_a_generator_is_deleted_whole(api: httpx.Client, api_store: FileStore) -> None:
    add_generator(api_store)
    api_store.put("generators/cats/weights.safetensors", b"-")
    assert api.delete("/generators/cats").status_code == 204
    assert kept(api_store) == []
    assert api.delete("/generators/cats").status_code == 404
    assert api.get("/generators/cats").status_code == 404


def test_a_generator_in_use_stays(api: httpx.Client, api_store: FileStore, api_ledger: Ledger) -> None:
    add_generator(api_store)

    def refusal(generator_id: str = "cats") -> str:
        answer = api.delete(f"/generators/{generator_id}")
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/generator-in-use")
        assert api.get(f"/generators/{generator_id}").status_code == 200
        return str(answer.json()["detail"])

    assert "comes with labelmint" in refusal("toy")
    project = ProjectRecord(id="my-project", name="Mine", generator="cats", seeds=[], classes=CLASSES)
    api_store.put(ProjectRecord.key(project.id), project.model_dump_json().encode())
    assert "my-project" in refusal()
    api_store.delete(ProjectRecord.key(project.id))
    encoding = api.post("/generators/cats/encoder").json()["id"]
    assert encoding in refusal()
    api_ledger.cancel(encoding)
    training = post(api, "images", zipped(IMAGES), settings={"start": "cats"}).json()["id"]
    assert training in refusal()
    api_ledger.cancel(training)
    assert api.delete("/generators/cats").status_code == 204


def test_a_project_made_while_its_generator_is_deleted_keeps_one_of_both(
    store: FileStore, redis: redis_client.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first, no project is left without its generator."""
    ledger = Ledger(store, redis, 1000)
    client = TestClient(create_app(settings))
    put, put_back = FileStore.put, []

    def deleting_meanwhile(self: FileStore, key: str, data: Any) -> int:
        if key.endswith("/project.json") and not put_back:
            put_back.append(key)
            remove_generator(self, ledger, redis, "toy")
        return put(self, key, data)

    add_generator(store, id="toy")
    monkeypatch.setattr(FileStore, "put", deleting_meanwhile)
    answer = post_files(client, good_files())
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-upload")
    assert "unknown generator" in answer.text
    assert list(store.list()) == []

    add_generator(store, id="toy")
    delete = FileStore.delete

    def creating_meanwhile(self: FileStore, key: str) -> None:
        delete(self, key)
        if key == GeneratorRecord.key("toy"):
            project = ProjectRecord(id="late", name="Late", generator="toy", seeds=[], classes=CLASSES)
            put(self, ProjectRecord.key(project.id), project.model_dump_json().encode())

    monkeypatch.setattr(FileStore, "delete", creating_meanwhile)
    assert client.delete("/generators/toy").status_code == 409
    assert client.get("/generators/toy").status_code == 200


def test_while_a_generator_is_deleted_others_wait_for_one_look_at_the_projects(
    store: FileStore, redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All records of projects are read for it, and meanwhile nobody can import, train or encode."""
    ledger = Ledger(store, redis, 1000)
    for generator_id in ("cats", "dogs"):
        add_generator(store, id=generator_id)
    project = ProjectRecord(id="mine", name="Mine", generator="dogs", seeds=[], classes=CLASSES)
    store.put(ProjectRecord.key(project.id), project.model_dump_json().encode())
    looks: list[bool] = []
    folders = FileStore.folders

    def noting(self: FileStore, prefix: str) -> Iterator[str]:
        if prefix == "projects/":
            looks.append(redis.exists("labelmint:lock:generators") == 1)
        return folders(self, prefix)

    monkeypatch.setattr(FileStore, "folders", noting)
    remove_generator(store, ledger, redis, "cats")
    assert looks == [False, True]
    looks.clear()
    with pytest.raises(Problem, match="mine"):
        remove_generator(store, ledger, redis, "dogs")
    assert looks == [False], "what is refused keeps nobody waiting"


def test_an_encoder_is_trained_once(api: httpx.Client, api_store: FileStore, api_ledger: Ledger) -> None:
    add_generator(api_store)
    first, second = (api.post("/generators/cats/encoder") for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert first.headers["location"] == f"/jobs/{first.json()['id']}"
    assert first.json()["request"] == {"task": "encode", "generator_id": "cats"}
    assert api_ledger.get(first.json()["id"]).state is JobState.QUEUED
    done = api.post("/generators/toy/encoder")
    assert (done.status_code, done.json()["id"]) == (200, "toy")
    assert api.post("/generators/nobody/encoder").status_code == 404


def test_samples_are_found_by_truncation(api: httpx.Client, api_store: FileStore) -> None:
    for truncation in ("0.50", "0.70"):
        api_store.put(f"generators/toy/samples-{truncation}.png", truncation.encode())
    for asked, found in (({}, "0.70"), ({"truncation": 0.5}, "0.50"), ({"truncation": 0.69}, "0.70")):
        answer = api.get("/generators/toy/samples.png", params=asked)
        assert (answer.status_code, answer.text, answer.headers["x-truncation"]) == (200, found, found)
    assert api.get("/generators/nobody/samples.png").status_code == 404
    assert api.get("/generators/toy/samples.png", params={"truncation": 1.2}).status_code == 422


def test_samples_that_nobody_draws_are_asked_for_again(
    settings: Settings, store: FileStore, redis: redis_client.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.routes.generators._WAIT_S", 0.5)
    toy = make_generator()
    store.put(GeneratorRecord.key(toy.id), toy.model_dump_json().encode())
    client = TestClient(create_app(settings))
    for truncation in (0.3, 0.31):
        began = time.monotonic()
        answer = client.get("/generators/toy/samples.png", params={"truncation": truncation})
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/samples-not-ready")
        assert int(answer.headers["retry-after"]) > 0
        assert time.monotonic() - began >= 0.5
    assert redis.lrange("rq:queue:labelmint", 0, -1) == [b"toy-samples-0-30"]
