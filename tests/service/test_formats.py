"""Asking for further formats of a finished dataset, over HTTP."""

import re
import shutil
from pathlib import Path

import httpx
import pytest

from service.dataset_formats import zip_key
from service.label_schema import DepthSchema, Keypoint, KeypointSchema, LabelClass, LabelSchema
from service.ledger import Ledger
from service.records import Fitting, JobError, JobRecord, JobState, ProjectRecord, SeedRecord, shard_key
from service.requests import DatasetFormat, GenerateRequest, PackageRequest, Split
from service.stores import FileStore

EVERY_KIND = LabelSchema(
    classes=[LabelClass(name="floor", color="#000000"), LabelClass(name="bear", color="#ffffff")],
    keypoints=KeypointSchema(points=[Keypoint(name="nose")]),
    depth=DepthSchema(scale=0.1, minimum=1, maximum=2),
)
SPLIT = {"train": 0.8, "val": 0.1, "test": 0.1}
REQUEST = GenerateRequest(project_id="shapes", count=10, split=Split(**SPLIT))


def put_project(store: FileStore, **labels: object) -> None:
    fitting = Fitting(original=(8, 8), resized=(8, 8), crop=(0, 0, 8, 8))
    seeds = [SeedRecord(index=0, name="seed", fitting=fitting)]
    project = ProjectRecord(id="shapes", name="Shapes", generator="toy", seeds=seeds, **(labels or dict(EVERY_KIND)))
    store.put(ProjectRecord.key("shapes"), project.model_dump_json().encode())


@pytest.fixture
def source(api_ledger: Ledger, api_store: FileStore) -> JobRecord:
    """A job that has made a dataset of two shards, and packed it as PNG."""
    put_project(api_store)
    api_ledger.accept(JobRecord(id="source", request=REQUEST))
    api_ledger.start("source")
    api_ledger.plan("source", "fit", 2, 5)
    for shard in range(2):
        api_store.put(shard_key("source", shard), b"tar")
    api_ledger.succeed("source", {"png": "datasets/source/png.zip"})
    return api_ledger.get("source")


def test_the_answer_is_a_job_that_packs(api: httpx.Client, api_ledger: Ledger, source: JobRecord) -> None:
    answer = api.post("/jobs/source/formats", json={"formats": ["coco", "yolo"]})
    assert answer.status_code == 202
    job = api_ledger.get(answer.json()["id"])
    assert answer.headers["Location"] == f"/jobs/{job.id}"
    assert job.state is JobState.QUEUED
    assert job.request == PackageRequest(
        job_id="source", project_id="shapes", formats=[DatasetFormat.COCO, DatasetFormat.YOLO], split=REQUEST.split
    )


def test_a_split_of_its_own_is_kept(api: httpx.Client, api_ledger: Ledger, source: JobRecord) -> None:
    answer = api.post("/jobs/source/formats", json={"formats": ["voc"], "split": {"train": 0.5, "val": 0.5}})
    request = api_ledger.get(answer.json()["id"]).request
    assert isinstance(request, PackageRequest)
    assert request.split == Split(train=0.5, val=0.5)


def test_an_idempotency_key_is_honoured(api: httpx.Client, source: JobRecord) -> None:
    headers = {"Idempotency-Key": "once"}
    one, other = (api.post("/jobs/source/formats", json={"formats": ["coco"]}, headers=headers) for _ in range(2))
    assert one.json()["id"] == other.json()["id"]
    changed = api.post("/jobs/source/formats", json={"formats": ["voc"]}, headers=headers)
    assert (changed.status_code, changed.json()["type"]) == (422, "/problems/idempotency-key-reused")


def test_what_was_packed_is_offered_by_both_jobs(
    api: httpx.Client, api_ledger: Ledger, api_store: FileStore, source: JobRecord
) -> None:
    """The worker's part is played by hand."""
    packer = api.post("/jobs/source/formats", json={"formats": ["coco"]}).json()["id"]
    outputs = {"coco": "datasets/source/coco.zip"}
    api_store.put("datasets/source/png.zip", b"the first zip")
    api_store.put(outputs["coco"], b"a zip")
    api_store.put("datasets/source/preview.png", b"a picture")
    api_ledger.start(packer)
    api_ledger.add_outputs("source", outputs)
    api_ledger.succeed(packer, outputs)
    assert list(api.get("/jobs/source").json()["links"]["download"]) == ["png", "coco"]
    assert api.get("/jobs/source/download").content == b"the first zip"
    for job_id in ("source", packer):
        assert api.get(f"/jobs/{job_id}/download?format=coco").content == b"a zip"
        assert api.get(f"/jobs/{job_id}/preview.png").content == b"a picture"


def test_a_format_that_is_there_can_be_asked_for_again_but_not_in_other_parts(
    api: httpx.Client, source: JobRecord
) -> None:
    assert api.post("/jobs/source/formats", json={"formats": ["png"]}).status_code == 202
    assert api.post("/jobs/source/formats", json={"formats": ["png"], "split": SPLIT}).status_code == 202
    answer = api.post("/jobs/source/formats", json={"formats": ["coco", "png"], "split": {"train": 1.0}})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/format-exists")
    assert "png" in answer.json()["detail"]


def test_who_asks_for_a_zip_that_is_cut_otherwise_is_told_where_it_is(
    api: httpx.Client, api_ledger: Ledger, api_store: FileStore, source: JobRecord
) -> None:
    """It was a request of its own that cut it, so that leaving `split` out is no way to it."""
    coco = zip_key(source, DatasetFormat.COCO, Split(train=0.5, val=0.5))
    api_store.put(coco, b"a zip")
    api_ledger.add_outputs("source", {"coco": coco})
    detail = api.post("/jobs/source/formats", json={"formats": ["coco", "yolo"]}).json()["detail"]
    (address,) = re.findall(r"/jobs/\S+format=\w+", detail)
    assert api.get(address).content == b"a zip"
    assert "Leave that out of `formats`" in detail
    assert api.post("/jobs/source/formats", json={"formats": ["yolo"]}).status_code == 202


def test_formats_without_a_place_for_the_labels_are_refused(
    api: httpx.Client, api_store: FileStore, source: JobRecord
) -> None:
    put_project(api_store, depth=EVERY_KIND.depth)
    answer = api.post("/jobs/source/formats", json={"formats": ["coco", "yolo", "voc"]})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["formats.1", "formats.2"]


@pytest.mark.parametrize("state", ["queued", "running", "failed", "cancelled"])
def test_only_a_job_that_has_succeeded_can_be_packed(
    api: httpx.Client, api_ledger: Ledger, api_store: FileStore, state: str
) -> None:
    put_project(api_store)
    api_ledger.accept(JobRecord(id="source", request=REQUEST))
    if state in ("running", "failed"):
        api_ledger.start("source")
    if state == "cancelled":
        api_ledger.cancel("source")
    if state == "failed":
        api_ledger.fail("source", JobError(code="internal", message="It broke.", retry=False))
    answer = api.post("/jobs/source/formats", json={"formats": ["coco"]})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-ready")


def test_a_job_that_packs_is_not_packed(api: httpx.Client, source: JobRecord) -> None:
    packer = api.post("/jobs/source/formats", json={"formats": ["coco"]}).json()["id"]
    answer = api.post(f"/jobs/{packer}/formats", json={"formats": ["yolo"]})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/no-dataset")


def test_a_dataset_is_removed_with_its_folder_in_the_store(
    api: httpx.Client, api_directory: Path, api_ledger: Ledger, api_store: FileStore, source: JobRecord
) -> None:
    """As the documentation tells. The project may go before or afterwards, and takes no dataset with it."""
    packer = api.post("/jobs/source/formats", json={"formats": ["coco"]}).json()["id"]
    outputs = {"coco": zip_key(source, DatasetFormat.COCO, REQUEST.split)}
    for key in (*source.outputs.values(), *outputs.values()):
        api_store.put(key, b"a zip")
    api_ledger.start(packer)
    api_ledger.add_outputs("source", outputs)
    api_ledger.succeed(packer, outputs)
    assert api.delete("/projects/shapes").status_code == 204
    assert not list(api_store.list("projects/"))
    downloads = [f"/jobs/source/download?format={name}" for name in ("png", "coco")] + [f"/jobs/{packer}/download"]
    assert [api.get(url).status_code for url in downloads] == [200] * 3
    put_project(api_store)
    shutil.rmtree(api_directory / "store" / "datasets" / "source")
    assert [api.get(url).status_code for url in downloads] == [410] * 3
    assert api.post("/jobs/source/formats", json={"formats": ["voc"]}).status_code == 410


def test_what_is_gone_is_gone(api: httpx.Client, api_store: FileStore, source: JobRecord) -> None:
    api_store.delete(shard_key("source", 1))
    answer = api.post("/jobs/source/formats", json={"formats": ["coco"]})
    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/dataset-gone")
    api_store.delete(ProjectRecord.key("shapes"))
    answer = api.post("/jobs/source/formats", json={"formats": ["coco"]})
    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/project-gone")
    assert api.post("/jobs/nobody/formats", json={"formats": ["coco"]}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"formats": []},
        {"formats": ["coco", "coco"]},
        {"formats": ["tfrecord"]},
        {"formats": ["coco"], "split": {"train": 0.5}},
        {"formats": ["coco"], "count": 3},
    ],
)
def test_bad_bodies_are_refused(api: httpx.Client, source: JobRecord, body: dict[str, object]) -> None:
    assert api.post("/jobs/source/formats", json=body).status_code == 422


def test_only_json_is_taken(api: httpx.Client, source: JobRecord) -> None:
    answer = api.post("/jobs/source/formats", content=b'{"formats": ["coco"]}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
