"""A worker that starts clears away what others left half-written when they died."""

from types import SimpleNamespace

import boto3
import pytest
import redis as redis_client
from structlog.testing import capture_logs

from service.settings import Settings
from workers import worker

BUCKET = "leftovers"


@pytest.fixture
def s3_settings(settings: Settings, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(worker, "ForkingWorker", lambda *_: SimpleNamespace(work=lambda **_: None))
    return settings.model_copy(update={"store_url": f"s3://{BUCKET}/store", "s3_endpoint_url": s3_endpoint})


def test_uploads_that_broke_off_are_dropped(s3_settings: Settings, redis: redis_client.Redis) -> None:
    client = boto3.client("s3", endpoint_url=s3_settings.s3_endpoint_url, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    place = {"Bucket": BUCKET, "Key": "store/datasets/job/shard-00000.tar"}
    upload = client.create_multipart_upload(**place)["UploadId"]
    client.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"half")
    patient = s3_settings.model_copy(update={"package_timeout_s": 50 * 365 * 24 * 3600})
    worker.work(patient, redis)
    assert client.list_multipart_uploads(Bucket=BUCKET).get("Uploads"), "a part may take so long"
    worker.work(s3_settings, redis)
    assert not client.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def test_a_store_that_does_not_allow_it_is_left_alone(s3_settings: Settings, redis: redis_client.Redis) -> None:
    with capture_logs() as logs:
        worker.work(s3_settings.model_copy(update={"store_url": "s3://nowhere/store"}), redis)
    (entry,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert "no bucket nowhere" in entry["reason"]
