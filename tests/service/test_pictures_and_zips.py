"""What a job made, as its picture and as its zip: one rule for what a client holds already, and for what is gone."""

import httpx
import pytest

from service.ledger import Ledger
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
