"""Generators from upload to use, through the API and a real worker that serves all of these tests."""

import hashlib
import io
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from fastapi.testclient import TestClient
from PIL import Image

from labelmint.verify import verify_png_zip
from models.architecture import Architecture
from models.checkpoint import save_tensors
from models.generator import Generator
from service.app import create_app
from service.ledger import Ledger
from service.records import JobRecord, JobState
from service.redis_client import connect
from service.settings import Settings
from service.stores import FileStore
from tests.service.uploads import post_zip, zipped
from tests.workers.processes import children_of, wait_for, worker
from tests.workers.world import CLASSES, labeled_seeds, write_generator


@dataclass
class Service:
    """An API in this process, and a worker."""

    api: TestClient
    store: FileStore
    ledger: Ledger
    process: Popen[bytes]

    def post(self, data: bytes, **fields: str) -> dict[str, Any]:
        answer = self.api.post("/generators", files={"checkpoint": ("some.pkl", data)}, data=fields)
        assert answer.status_code in (200, 202), answer.text
        content: dict[str, Any] = answer.json()
        return content

    def ended(self, job_id: str) -> JobRecord:
        wait_for(lambda: self.ledger.get(job_id).state.is_terminal, 90, f"{job_id} has ended")
        return self.ledger.get(job_id)

    def keeps_no_upload(self) -> bool:
        """A worker removes an upload right after the job's end."""
        wait_for(lambda: not list(self.store.list("uploads/")), 10, "the upload is gone")
        return True


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    settings = Settings(
        _env_file=None,
        store_url=f"file://{folder / 'store'}",
        redis_url=redis_url,
        data_dir=folder / "data",
        encoder_steps=6,
        import_memory_bytes=2**30,
    )
    connection = connect(redis_url)
    connection.flushall()
    store = FileStore(folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with TestClient(create_app(settings)) as api, worker(settings, folder / "worker.log") as process:
            yield Service(api, store, Ledger(store, connection, 3600), process)
    connection.close()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("generator") / "tiny"
    write_generator(folder)
    return (folder / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def imported(service: Service, weights: bytes) -> str:
    """The id of a generator that was imported by the worker."""
    job = service.ended(service.post(weights, name="Tiny")["id"])
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert job.generator_id is not None
    return job.generator_id


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as picture:
        return picture.size


def test_a_checkpoint_becomes_a_generator(service: Service, imported: str, weights: bytes) -> None:
    view = service.api.get(f"/generators/{imported}").json()
    assert (view["name"], view["resolution"], view["source"], view["conditions"]) == ("Tiny", 16, "labelmint", 0)
    assert view["upload_sha256"] == hashlib.sha256(weights).hexdigest()
    assert not view["has_encoder"]
    assert view["architecture"]["w_dim"] == 16
    assert view["latents"]["p_norm_mean"] == pytest.approx(1, abs=0.2)
    assert view["latents"]["w_std_rms"] > 0
    stored = service.store.read(f"generators/{imported}/weights.safetensors")
    assert view["sha256"] == hashlib.sha256(stored).hexdigest()
    sent, kept = safetensors.numpy.load(weights), safetensors.numpy.load(stored)
    assert sent.keys() == kept.keys()
    assert all(np.array_equal(sent[name], kept[name]) for name in sent)
    assert view["parameters"] == sum(t.size for name, t in sent.items() if not name.endswith(("w_avg", "noise_const")))
    assert service.store.exists(f"generators/{imported}/latents.safetensors")
    assert service.keeps_no_upload()


def test_the_same_file_again_is_the_same_generator(service: Service, imported: str, weights: bytes) -> None:
    assert service.post(weights)["id"] == imported
    assert service.keeps_no_upload()


def test_samples_are_there_and_drawn_on_demand(service: Service, imported: str) -> None:
    pictures = {}
    assert service.store.exists(f"generators/{imported}/samples-0.70.png")
    for truncation in (0.0, 0.36, 1.0):
        answer = service.api.get(f"/generators/{imported}/samples.png", params={"truncation": truncation})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        pictures[answer.headers["x-truncation"]] = answer.content
    assert pictures.keys() == {"0.00", "0.35", "1.00"}
    assert {size_of(picture) for picture in pictures.values()} == {(6 * 16, 4 * 16)}
    assert len(set(pictures.values())) == 3
    with Image.open(io.BytesIO(pictures["0.00"])) as picture:
        tiles = np.asarray(picture).reshape(4, 16, 6, 16, 3).swapaxes(1, 2).reshape(24, -1)
    assert len(np.unique(tiles, axis=0)) == 1, "at truncation 0 all samples are the mean one"


class _Malice:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def test_a_hostile_checkpoint_is_refused_and_the_worker_lives(service: Service, tmp_path: Path) -> None:
    job = service.ended(service.post(pickle.dumps({"G_ema": _Malice(tmp_path / "harm")}, 2))["id"])
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.retry) == ("import-refused", False)
    assert "posix" in job.error.message or "pickle" in job.error.message
    assert not (tmp_path / "harm").exists()
    assert service.process.poll() is None
    assert service.keeps_no_upload()
    assert service.api.get(f"/generators/{job.generator_id}").status_code == 404


def test_a_generator_too_large_for_one_image_is_refused(service: Service, tmp_path: Path) -> None:
    """Its weights fit into the memory that an import may take, and its images do not."""
    architecture = Architecture(
        1024, z_dim=8, w_dim=8, mapping_layers=1, noise=False, widths=(8, 8, 8, 8, 8, 8, 8, 8, 70)
    )
    facts = {"architecture": architecture.to_dict()}
    save_tensors(tmp_path / "large", Generator(architecture).state_dict(), "generator", facts)
    job = service.ended(service.post((tmp_path / "large").read_bytes())["id"])
    assert job.error is not None
    assert job.error.code == "import-too-large"
    assert service.process.poll() is None
    assert service.keeps_no_upload()


def test_an_encoder_is_trained_as_a_job(service: Service, imported: str) -> None:
    job_id = service.api.post(f"/generators/{imported}/encoder").json()["id"]
    job = service.ended(job_id)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert (job.progress.done, job.progress.total) == (6, 6)
    assert job.progress.details["stage"] == 2
    assert job.progress.details.keys() >= {"code_error", "psnr_db", "lpips"}
    view = service.api.get(f"/generators/{imported}").json()
    assert view["has_encoder"]
    assert view["provenance"]["encoder"]["settings"]["steps_code"] == 4
    assert service.store.exists(f"generators/{imported}/encoder.safetensors")
    again = service.api.post(f"/generators/{imported}/encoder")
    assert (again.status_code, again.json()["id"]) == (200, imported)


def test_an_import_whose_upload_is_gone_says_so(service: Service) -> None:
    data = b"\x80\x02}q\x00." + os.urandom(64)
    sha256 = hashlib.sha256(data).hexdigest()
    os.kill(service.process.pid, 19)  # SIGSTOP: the worker takes nothing for a moment
    try:
        job_id = service.post(data)["id"]
        service.store.delete(f"uploads/{sha256}")
    finally:
        os.kill(service.process.pid, 18)
    error = service.ended(job_id).error
    assert error is not None
    assert error.code == "upload-missing"


def another_file(weights: bytes, note: str) -> bytes:
    """With another remark in its header, the same generator is another file."""
    header_end = 8 + int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8:header_end])
    header["__metadata__"]["note"] = note
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + weights[header_end:]


def test_the_first_data_set_of_a_generator_trains_its_encoder(service: Service, weights: bytes, tmp_path: Path) -> None:
    """From an uploaded checkpoint to labeled samples, and nobody asked for an encoder."""
    assert service.ended(service.post(another_file(weights, "new"), id="new")["id"]).error is None
    write_generator(tmp_path / "tiny")
    classes = [entry.model_dump() for entry in CLASSES]
    files = {"project.json": json.dumps({"name": "Brightness", "generator": "new", "classes": classes}).encode()}
    for number, seed in enumerate(labeled_seeds(tmp_path / "tiny")):
        files |= {f"images/{number}.png": seed["image.png"], f"segmentation/{number}.png": seed["segmentation.png"]}
    answer = post_zip(service.api, zipped(files))
    assert answer.status_code == 201, answer.text
    body = {"project_id": answer.json()["id"], "count": 6, "formats": ["png"]}
    trained = []
    for _ in range(2):
        job = service.ended(service.api.post("/generate", json=body).json()["id"])
        assert (job.state, job.error) == (JobState.SUCCEEDED, None)
        (encoder,) = service.store.list("generators/new/encoder.safetensors")
        trained.append(encoder)
        (tmp_path / "data.zip").write_bytes(service.api.get(f"/jobs/{job.id}/download?format=png").content)
        assert verify_png_zip(tmp_path / "data.zip", 6).samples == 6
        body["seed"] = 1
    assert service.api.get("/generators/new").json()["has_encoder"]
    assert trained[0] == trained[1], "it was trained once"


def test_a_killed_import_is_done_again(service: Service, weights: bytes) -> None:
    job_id = service.post(another_file(weights, "again"), id="again")["id"]
    wait_for(lambda: bool(children_of(service.process.pid)), 30, "the job has a process")
    for child in children_of(service.process.pid):
        os.kill(child, 9)
    job = service.ended(job_id)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert service.api.get("/generators/again").json()["resolution"] == 16
    assert service.api.delete("/generators/again").status_code == 204
