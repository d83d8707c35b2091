"""What a job made, as its picture and as its zip: one rule for what a client holds already, and for what is gone."""

import httpx
import pytest

from service.ledger import Ledger
from service.records import JobError, JobRecord
from service.requests import (
    DatasetFormat,
    EncodeRequest,
    FitRequest,
    ImportRequest,
    JobRequest,
    PackageRequest,
    TrainRequest,
)
from service.stores import FileStore
from tests.service.jobs import make_job
from tests.service.uploads import image_bytes

PREVIEW, ZIP = "/jobs/job-1/preview.png", "/jobs/job-1/download?format=png"


@pytest.fixture
def made(api: httpx.Client, api_ledger: Ledger, api_store: FileStore) -> None:
    """A job that has made a dataset."""
    api_ledger.accept(make_job())
    api_ledger.start("job-1")
    api_store.put("datasets/job-1/preview.png", image_bytes())
    api_store.put("datasets/job-1/png.zip", b"a zip")
    api_ledger.succeed("job-1", {"png": "datasets/job-1/png.zip"})


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("address", [PREVIEW, ZIP])
@pytest.mark.parametrize(
    ("known", "status"),
    [
        ("{}", 304),
        ("W/{}", 304),
        ('"other", W/{}', 304),
        ('"an,other",{}', 304),
        ("*", 304),
        ('"other"', 200),
        ('W/"*"', 200),
        ("", 200),
    ],
)
def test_what_a_client_holds_is_not_sent_again(api: httpx.Client, address: str, known: str, status: int) -> None:
    etag = api.get(address).headers["etag"]
    answer = api.get(address, headers={"if-none-match": known.format(etag)})
    assert (answer.status_code, answer.headers["etag"]) == (status, etag)
    assert bool(answer.content) == (status == 200)


@pytest.mark.usefixtures("made")
def test_a_range_is_only_of_the_very_same_bytes(api: httpx.Client) -> None:
    etag = api.get(ZIP).headers["etag"]
    assert api.get(ZIP, headers={"range": "bytes=1-", "if-range": etag}).status_code == 206
    assert api.get(ZIP, headers={"range": "bytes=1-", "if-range": f"W/{etag}"}).status_code == 200


TRAINING = TrainRequest(generator_id="cats", name="Cats", sha256="0" * 64)


@pytest.mark.parametrize("request_of_job", [make_job().request, TRAINING], ids=["generate", "train"])
@pytest.mark.parametrize("end", ["failed", "cancelled", "succeeded"])
def test_a_preview_that_is_not_there_is_only_expected_before_the_job_s_end(
    api: httpx.Client, api_ledger: Ledger, request_of_job: JobRequest, end: str
) -> None:
    job = api_ledger.accept(JobRecord(id="job-1", request=request_of_job))
    for start in (lambda _: None, api_ledger.start):
        start(job.id)
        answer = api.get(PREVIEW)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/no-preview")
        assert "its preview is made" in answer.json()["detail"]
    if end == "failed":
        api_ledger.fail(job.id, JobError(code="fit-failed", message="The seeds could not be inverted.", retry=False))
    elif end == "cancelled":
        api_ledger.cancelled(job.id)
    else:
        api_ledger.succeed(job.id, {"png": "datasets/job-1/png.zip"})
    answer = api.get(PREVIEW)
    assert answer.status_code == 410
    assert "is made" not in answer.json()["detail"]
    assert ("could not be inverted" in answer.json()["detail"]) == (end == "failed")
    if request_of_job is not TRAINING:
        assert api.get(ZIP).status_code == 410


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("job_id", ["job-1", "packer"])
def test_with_its_dataset_a_preview_is_gone(
    api: httpx.Client, api_ledger: Ledger, api_store: FileStore, job_id: str
) -> None:
    again = PackageRequest(job_id="job-1", project_id="bears", formats=[DatasetFormat.COCO])
    api_ledger.accept(JobRecord(id="packer", request=again))
    address = f"/jobs/{job_id}/preview.png"
    assert api.get(address).status_code == 200
    api_store.delete_prefix("datasets/job-1/")
    answer = api.get(address)
    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/dataset-gone")


@pytest.mark.parametrize(
    ("request_of_job", "place"),
    [
        (FitRequest(project_id="bears"), "/projects/bears/sheet.png"),
        (ImportRequest(generator_id="cats", name="Cats", sha256="0" * 64), "/generators/cats/samples.png"),
        (EncodeRequest(generator_id="cats"), "/generators/cats/samples.png"),
    ],
    ids=["fit", "import", "encode"],
)
def test_a_job_without_samples_never_has_a_preview(
    api: httpx.Client, api_ledger: Ledger, request_of_job: JobRequest, place: str
) -> None:
    api_ledger.accept(JobRecord(id="job-1", request=request_of_job))
    answer = api.get(PREVIEW)
    assert (answer.status_code, answer.json()["title"]) == (404, "No preview")
    assert f"makes no samples; look at {place}" in answer.json()["detail"]
