"""Uploads of generators and of images to train them on: taken, recognised and refused, without any worker."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import redis as redis_client

from service.ledger import Ledger
from service.records import upload_key
from service.stores import FileStore
from tests.service.generator_uploads import IMAGES, PICKLE, SAFETENSORS, add_generator, kept, post, sha256
from tests.service.uploads import image_bytes, zipped


def test_a_checkpoint_becomes_a_job_and_waits_in_the_store(api: httpx.Client, api_store: FileStore) -> None:
    answer = post(api, "checkpoint", PICKLE)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    digest = sha256(PICKLE)
    generator_id = "g" + base64.b32encode(bytes.fromhex(digest)).decode().lower()[:12]
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert job["request"] == {
        "task": "import",
        "generator_id": generator_id,
        "name": "some model",
        "sha256": digest,
    }
    assert api_store.read(upload_key(digest)) == PICKLE
    assert api.get(f"/generators/{generator_id}").status_code == 404


def test_a_job_is_in_the_queue(api: httpx.Client, api_store: FileStore, redis: redis_client.Redis) -> None:
    job_id = post(api, "checkpoint", SAFETENSORS, name="Mine", id="mine").json()["id"]
    assert redis.lrange("rq:queue:labelmint", 0, -1) == [f"{job_id}-import".encode()]
    assert redis.hget(f"rq:job:{job_id}-import", "description").decode().startswith("workers.generator_import.run(")


def test_the_same_file_under_way_is_the_same_job(api: httpx.Client, api_store: FileStore) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: post(api, "checkpoint", PICKLE), range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(key.split("/")[0] for key in kept(api_store)) == ["jobs", "uploads"]


def test_a_file_that_was_imported_is_its_generator(
    api: httpx.Client, api_store: FileStore, redis: redis_client.Redis
) -> None:
    add_generator(api_store, upload_sha256=sha256(PICKLE))
    answer = post(api, "checkpoint", PICKLE)
    assert (answer.status_code, answer.json()["id"]) == (200, "cats")
    assert answer.headers["location"] == "/generators/cats"
    assert answer.json()["links"] == {
        "self": "/generators/cats",
        "samples": "/generators/cats/samples.png",
        "encoder": "/generators/cats/encoder",
    }
    assert kept(api_store) == ["generators/cats/generator.json"]
    assert redis.llen("rq:queue:labelmint") == 0


def test_one_may_ask_before_uploading(api: httpx.Client, api_store: FileStore) -> None:
    add_generator(api_store, upload_sha256=sha256(PICKLE))

    def found(digest: str) -> list[str]:
        answer = api.get("/generators", params={"sha256": digest})
        return [row["id"] for row in answer.json()["generators"]]

    assert found(sha256(PICKLE)) == found(sha256(PICKLE).upper()) == ["cats"]
    assert found(sha256(SAFETENSORS)) == []
    assert api.get("/generators", params={"sha256": "beef"}).status_code == 422


def test_images_become_a_training_job(api: httpx.Client, api_store: FileStore) -> None:
    data = zipped(IMAGES)
    chosen = {"fit": "stretch", "mirror": True, "augment": "fixed", "augment_p": 0.3, "patience": 3, "seed": 7}
    settings = {"resolution": 32, "kimg": 1.5, **chosen}
    answer = post(api, "images", data, settings=settings, name="Cats")
    assert answer.status_code == 202, answer.text
    request = answer.json()["request"]
    assert request.pop("generator_id").startswith("g")
    assert request == {"task": "train", "name": "Cats", "sha256": sha256(data), "start": None, **settings}
    again = post(api, "images", data, settings=settings)
    other = post(api, "images", data, settings=settings | {"seed": 8})
    assert again.json()["id"] == answer.json()["id"]
    assert other.json()["id"] != answer.json()["id"]
    assert other.json()["request"]["generator_id"] != again.json()["request"]["generator_id"]


def test_training_starts_from_a_generator_of_its_size(api: httpx.Client, api_store: FileStore) -> None:
    data = zipped(IMAGES)
    request = post(api, "images", data, settings={"start": "toy"}).json()["request"]
    assert (request["start"], request["resolution"]) == ("toy", 64)
    add_generator(api_store, conditions=3)
    for settings, words in (
        ({"start": "toy", "resolution": 128}, "64 pixels a side"),
        ({"start": "nobody"}, "no such generator"),
        ({"start": "cats"}, "name one without classes"),
    ):
        answer = post(api, "images", data, settings=settings)
        assert answer.status_code == 422
        assert words in answer.text
        assert '"settings.' in answer.text


def test_an_idempotency_key_is_honoured(api: httpx.Client, api_store: FileStore, api_ledger: Ledger) -> None:
    first = post(api, "checkpoint", PICKLE, key="one").json()["id"]
    api_ledger.cancel(first)
    again = post(api, "checkpoint", PICKLE, key="one")
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (202, first, "cancelled")
    assert upload_key(sha256(PICKLE)) not in kept(api_store)
    other = post(api, "checkpoint", SAFETENSORS, key="one")
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert upload_key(sha256(SAFETENSORS)) not in kept(api_store)
    assert post(api, "checkpoint", PICKLE).json()["id"] != first


def big(directory: Path, size: int) -> Path:
    path = directory / "sparse.pkl"
    with path.open("wb") as file:
        file.write(PICKLE)
        file.truncate(size)
    return path


def peak_bytes(api_directory: Path) -> int:
    status = Path(f"/proc/{(api_directory / 'pid').read_text()}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_a_large_upload_is_never_in_memory(
    api: httpx.Client, api_store: FileStore, api_directory: Path, tmp_path: Path
) -> None:
    assert post(api, "checkpoint", SAFETENSORS).status_code == 202
    before = peak_bytes(api_directory)
    path = big(tmp_path, 64 * 2**20)
    with path.open("rb") as file:
        answer = api.post("/generators", files={"checkpoint": file})
    assert answer.status_code == 202, answer.text
    assert api_store.size(upload_key(answer.json()["request"]["sha256"])) == 64 * 2**20
    assert peak_bytes(api_directory) - before < 12 * 2**20


@pytest.mark.parametrize("declared", [True, False])
def test_an_upload_over_the_limit_is_refused(
    api: httpx.Client, api_store: FileStore, tmp_path: Path, declared: bool
) -> None:
    size = 67 * 2**20

    def chunks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="checkpoint"; filename="a.pkl"\r\n\r\n'
        for _ in range(size // 2**20):
            yield bytes(2**20)
        yield b"\r\n--x--\r\n"

    if declared:
        with big(tmp_path, size).open("rb") as file:
            answer = api.post("/generators", files={"checkpoint": file})
    else:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = api.post("/generators", content=chunks(), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
    assert "LABELMINT_MAX_CHECKPOINT_BYTES" in answer.json()["detail"]
    assert kept(api_store) == []


@pytest.mark.parametrize(
    ("part", "data", "fields", "status", "words"),
    [
        ("checkpoint", image_bytes(), {}, 415, "neither"),
        ("images", zipped({"notes.txt": b"-"}), {}, 415, "neither"),
        ("checkpoint", b"", {}, 422, "empty"),
        ("checkpoint", zipped(IMAGES), {}, 422, "part `images`"),
        ("images", PICKLE, {}, 422, "part `checkpoint`"),
        ("checkpoint", PICKLE, {"settings": "{}"}, 422, "settings"),
        ("checkpoint", PICKLE, {"id": "Cats & dogs"}, 422, "lower-case"),
        ("checkpoint", PICKLE, {"name": "x" * 65}, 422, "64"),
        ("checkpoint", PICKLE, {"colour": "red"}, 422, "unknown part"),
        ("checkpoint", PICKLE, {"images": "?"}, 422, "it comes with"),
        ("model", PICKLE, {}, 422, "unknown part"),
        ("images", zipped(IMAGES), {"settings": "{"}, 422, "settings"),
        ("images", zipped(IMAGES), {"settings": '{"resolution": 48}'}, 422, "settings.resolution"),
        ("images", zipped(IMAGES), {"settings": '{"resolution": "64"}'}, 422, "settings.resolution"),
        ("images", zipped(IMAGES), {"settings": '{"patience": true}'}, 422, "settings.patience"),
        ("images", zipped(IMAGES), {"settings": '{"kimg": -1}'}, 422, "settings.kimg"),
        ("images", zipped(IMAGES), {"settings": '{"fit": "squeeze"}'}, 422, "settings.fit"),
        ("images", zipped(IMAGES), {"settings": '{"augment": "none", "augment_p": 0.2}'}, 422, "settings.augment_p"),
        ("images", zipped(IMAGES), {"settings": '{"learning": 1}'}, 422, "settings.learning"),
        ("images", zipped(IMAGES), {"settings": '{"learning": 1}'}, 422, "remove it"),
        ("checkpoint", PICKLE, {"id": "toy"}, 409, "another"),
    ],
)
def test_what_cannot_be_taken_is_refused_and_leaves_nothing(
    api: httpx.Client, api_store: FileStore, part: str, data: bytes, fields: dict[str, str], status: int, words: str
) -> None:
    answer = post(api, part, data, **fields)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.text
    assert "Value error" not in answer.text
    assert kept(api_store) == []


def test_a_body_of_another_kind_is_refused(api: httpx.Client, api_store: FileStore) -> None:
    assert api.post("/generators", content=PICKLE).status_code == 415
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert api.post("/generators", content=b"--x\r\nbroken", headers=headers).status_code in (400, 422)
    assert kept(api_store) == []


@pytest.mark.parametrize(
    ("other", "message"), [("checkpoint", "it is sent more than once"), ("images", "it comes with `images`")]
)
def test_two_files_are_refused_by_name(api: httpx.Client, api_store: FileStore, other: str, message: str) -> None:
    answer = api.post("/generators", files=[("checkpoint", ("a", PICKLE)), (other, ("b", PICKLE))])
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert (error["field"], error["message"]) == ("checkpoint", message)
    assert error["remedy"]
    assert kept(api_store) == []


def test_a_file_name_of_blanks_is_no_name(api: httpx.Client, api_store: FileStore) -> None:
    for blank in ("\u200b \u200b.pkl", " .pkl", "\u200b"):
        answer = api.post("/generators", files={"checkpoint": (blank, PICKLE)})
        assert answer.status_code == 202, answer.text
        wanted = answer.json()["request"]
        assert wanted["name"] == wanted["generator_id"]
    answer = api.post("/generators", files={"checkpoint": ("\u200b Cats\u200b .pkl", SAFETENSORS)})
    assert answer.json()["request"]["name"] == "Cats"


def test_an_id_that_a_job_is_filling_is_taken(api: httpx.Client, api_store: FileStore) -> None:
    assert post(api, "checkpoint", PICKLE, id="mine").status_code == 202
    assert post(api, "checkpoint", SAFETENSORS, id="mine").status_code == 409
    assert upload_key(sha256(SAFETENSORS)) not in kept(api_store)
