"""One contract, two stores: files, and S3 over HTTP."""

import io
import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast

import boto3
import httpx
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from service.stores import (
    FileStore,
    InvalidKey,
    ObjectMissing,
    S3Store,
    Store,
    StoreUnavailable,
    absolute_url,
    open_store,
)
from service.stores.keys import check_key

PART = 16 * 2**20
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class Trickle:
    """A reader that can do nothing but read, gives little at a time, and may break."""

    def __init__(self, size: int, breaks_at: int | None = None) -> None:
        self._left = size
        self._breaks_in = breaks_at

    def read(self, size: int = -1) -> bytes:
        if self._breaks_in is not None and self._breaks_in <= 0:
            raise ConnectionResetError("the reader broke")
        count = min(size if size > 0 else self._left, self._left, 1 << 19)
        self._left -= count
        if self._breaks_in is not None:
            self._breaks_in -= count
        return b"x" * count


def trickle(size: int, breaks_at: int | None = None) -> BinaryIO:
    return cast(BinaryIO, Trickle(size, breaks_at))


def s3_store(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """A store below a prefix of a bucket of its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    bucket = f"bucket-{abs(hash(str(tmp_path)))}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=bucket)
    return open_store(f"s3://{bucket}/some/prefix", endpoint)


@pytest.fixture(params=["file", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "file":
        return open_store(f"file://{tmp_path}/root")
    return s3_store(request.getfixturevalue("s3_endpoint"), monkeypatch, tmp_path)


def test_what_is_put_is_read(any_store: Store) -> None:
    assert any_store.put("a/b.json", b"one") == 3
    assert any_store.read("a/b.json") == b"one"
    assert any_store.size("a/b.json") == 3
    assert any_store.exists("a/b.json")
    any_store.put("a/b.json", b"another")
    assert any_store.read("a/b.json") == b"another"


def test_an_empty_object_is_an_object(any_store: Store) -> None:
    any_store.put("empty", b"")
    any_store.put("stream", io.BytesIO())
    assert any_store.read("empty") == any_store.read("stream") == b""


def test_a_missing_object_says_so(any_store: Store) -> None:
    assert not any_store.exists("no/such")
    any_store.delete("no/such")
    for call in (any_store.read, any_store.size, any_store.open):
        with pytest.raises(ObjectMissing, match="no/such"):
            call("no/such")
    with pytest.raises(ObjectMissing):
        any_store.open("no/such", 3, 3)
    any_store.put("folder/file", b"x")
    with pytest.raises(ObjectMissing):
        any_store.read("folder")


@pytest.mark.parametrize("size", [10, PART + 12345])
def test_a_stream_that_cannot_seek_is_stored(any_store: Store, size: int) -> None:
    assert any_store.put("stream", trickle(size)) == size
    assert any_store.size("stream") == size


@pytest.mark.parametrize("breaks_at", [0, 5, PART + (1 << 20)])
def test_a_reader_that_breaks_stores_nothing(any_store: Store, breaks_at: int) -> None:
    any_store.put("old", b"before")
    for key in ("old", "new"):
        with pytest.raises(ConnectionResetError, match="the reader broke"):
            any_store.put(key, trickle(3 * PART, breaks_at))
    assert any_store.read("old") == b"before"
    assert [row.key for row in any_store.list()] == ["old"]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, None, b"0123456789"), (3, None, b"3456789"), (2, 5, b"234"), (8, 99, b"89"), (4, 4, b""), (10, None, b"")],
)
def test_a_range_is_start_inclusive_and_end_exclusive(
    any_store: Store, start: int, end: int | None, expected: bytes
) -> None:
    any_store.put("digits", b"0123456789")
    with any_store.open("digits", start, end) as stream:
        assert stream.read(1) + stream.read() == expected


def test_a_negative_range_is_refused(any_store: Store) -> None:
    any_store.put("digits", b"0123456789")
    with pytest.raises(ValueError, match="offsets"):
        any_store.open("digits", -1)


def test_list_is_in_key_order_and_by_prefix(any_store: Store) -> None:
    keys = ["a-b/c", "a.b", "a/a", "a/b/c", "a/b.x", "a0", "b", "ab/c"]
    for key in keys:
        any_store.put(key, key.encode())
    rows = list(any_store.list())
    assert [row.key for row in rows] == sorted(keys)
    assert [row.size for row in rows] == [len(row.key) for row in rows]
    for prefix in ("a", "a/", "a/b", "a/b/", "zz", "a/b/c"):
        assert [row.key for row in any_store.list(prefix)] == sorted(k for k in keys if k.startswith(prefix)), prefix


def test_folders_are_told_without_what_is_in_them(any_store: Store) -> None:
    for key in ("p/a/x", "p/a/y/z", "p/a-b/x", "p/a0/x", "p/file", "q/r/x"):
        any_store.put(key, b"")
    assert list(any_store.folders("p/")) == ["a-b", "a", "a0"], "in the order of the keys"
    assert list(any_store.folders("p/a/")) == ["y"]
    assert list(any_store.folders("p/a/y/")) == list(any_store.folders("nothing/")) == []
    for prefix in ("", "p", "p/a"):
        with pytest.raises(InvalidKey):
            next(any_store.folders(prefix))


def test_delete_prefix_takes_a_folder_and_nothing_else(any_store: Store) -> None:
    for key in ("p/1/x", "p/1/y/z", "p/10/x", "q"):
        any_store.put(key, b"")
    assert any_store.delete_prefix("p/1/") == 2
    assert [row.key for row in any_store.list()] == ["p/10/x", "q"]
    assert any_store.delete_prefix("p/1/") == 0
    for prefix in ("", "p", "p/1"):
        with pytest.raises(InvalidKey):
            any_store.delete_prefix(prefix)


def test_readers_share_an_object_while_it_is_replaced(any_store: Store) -> None:
    versions = {bytes([letter]) * 200_000 for letter in b"abc"}
    any_store.put("shared", min(versions))
    seen: list[bytes] = []

    def read() -> None:
        for _ in range(5):
            seen.append(any_store.read("shared"))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for version in sorted(versions):
        any_store.put("shared", version)
    for reader in readers:
        reader.join()
    assert len(seen) == 20
    assert set(seen) <= versions


def die_writing(store: Store, key: str) -> None:
    """Leave what a process leaves that is killed amid a put."""
    if isinstance(store, FileStore):
        (store._incoming / key).write_text("half")
        os.utime(store._incoming / key, (time.time() - 7200,) * 2)
        return
    assert isinstance(store, S3Store)
    place = {"Bucket": store._bucket, "Key": f"some/prefix/{key}"}
    upload = store._client.create_multipart_upload(**place)["UploadId"]
    store._client.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"half")


def test_what_a_dead_writer_left_is_dropped_once_it_is_old(any_store: Store) -> None:
    any_store.put("whole", b"whole")
    for key in ("one", "other"):
        die_writing(any_store, key)
    assert any_store.drop_unfinished(timedelta(days=50 * 365)) == 0, "it may still be written"
    assert any_store.drop_unfinished(timedelta(hours=1)) == 2
    assert any_store.drop_unfinished(timedelta(hours=1)) == 0
    assert [row.key for row in any_store.list()] == ["whole"]


def test_uploads_of_others_in_the_bucket_are_left_alone(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = s3_store(s3_endpoint, monkeypatch, tmp_path)
    assert isinstance(store, S3Store)
    store._client.create_multipart_upload(Bucket=store._bucket, Key="some/prefix-of-others")
    die_writing(store, "ours")
    assert store.drop_unfinished(timedelta(hours=1)) == 1
    (left,) = store._client.list_multipart_uploads(Bucket=store._bucket)["Uploads"]
    assert left["Key"] == "some/prefix-of-others"


BAD_KEYS = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a\\b",
    "C:/a",
    "~/a",
    ".incoming/a",
    "a\n",
    "é",
]


@pytest.mark.parametrize("key", [*BAD_KEYS, "a\0b", "a" * 600])
def test_keys_that_lead_elsewhere_are_refused(any_store: Store, key: str) -> None:
    for call in (any_store.read, any_store.size, any_store.exists, any_store.delete, any_store.open):
        with pytest.raises(InvalidKey):
            call(key)
    with pytest.raises(InvalidKey):
        any_store.put(key, b"")
    with pytest.raises(InvalidKey):
        any_store.presign(key, "name")


@given(st.text(alphabet="a./\\:-~\0 ", max_size=8))
def test_a_key_that_passes_stays_below_its_root(key: str) -> None:
    try:
        check_key(key)
    except InvalidKey:
        return
    root = Path("/nowhere/root")
    assert (root / key).resolve().is_relative_to(root)
    assert (root / key).resolve() != root


def test_presign_lets_anyone_download_under_a_name(any_store: Store) -> None:
    any_store.put("data.zip", b"zip")
    url = any_store.presign("data.zip", 'bears"; evil=1\r\n.zip')
    if url is None:
        return
    answer = httpx.get(url)
    assert answer.content == b"zip"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="bearsevil1.zip"'


def test_a_bucket_or_server_that_is_not_there_is_unavailable(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(StoreUnavailable, match="no bucket nowhere"):
        open_store("s3://nowhere", s3_endpoint).put("a", b"")
    monkeypatch.setattr("service.stores.s3._ATTEMPTS", 1)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        open_store("s3://nowhere", "http://127.0.0.1:9").put("a", b"")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "test"}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "nobody"}, "no profile of the name in AWS_PROFILE"),
        (KEYS | {"AWS_DEFAULT_REGION": "the moon"}, "see AWS_DEFAULT_REGION"),
    ],
)
def test_without_proper_credentials_nothing_is_called_out_of_reach(
    environment: dict[str, str], words: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    no_others = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    for name, value in (no_others | environment).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnavailable, match=words) as refusal:
        open_store("s3://bucket", s3_endpoint).put("a", b"")
    assert "reached" not in str(refusal.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("SignatureDoesNotMatch", "does not take the credentials: see AWS_ACCESS_KEY_ID"),
        ("ExpiredToken", "have run out"),
        ("AccessDenied", "needs to get, put, list and delete objects"),
        ("RequestTimeTooSkewed", "clock of this machine"),
        ("PermanentRedirect", "set AWS_DEFAULT_REGION"),
        ("SlowDown", r"refused the call \(SlowDown\)"),
    ],
)
def test_what_s3_refuses_is_told_with_what_to_do(code: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://bucket", "http://127.0.0.1:9")
    assert isinstance(store, S3Store)
    with Stubber(store._client) as stub, pytest.raises(StoreUnavailable, match=words):
        stub.add_client_error("put_object", code)
        store.put("a", b"")


def test_a_link_in_a_file_store_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    store = open_store(f"file://{tmp_path}/root")
    (tmp_path / "root" / "link").symlink_to(outside)
    (tmp_path / "root" / "file").symlink_to(outside / "secret")
    for key in ("link/secret", "file"):
        with pytest.raises(InvalidKey):
            store.read(key)
        with pytest.raises(InvalidKey):
            store.put(key, b"overwritten")
    assert list(store.list()) == list(store.list("link/")) == []
    (outside / "folder").mkdir()
    (tmp_path / "root" / "folder").mkdir()
    (tmp_path / "root" / "folder" / "link").symlink_to(outside)
    assert list(store.folders("link/")) == list(store.folders("folder/")) == []
    assert (outside / "secret").read_text() == "secret"


def test_leftovers_of_dead_writers_are_hidden_and_later_removed(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/root"
    store = open_store(url)
    leftover = tmp_path / "root" / ".incoming" / "half"
    leftover.write_text("half")
    assert list(store.list()) == []
    open_store(url)
    assert leftover.exists(), "a writer may still be at it"
    os.utime(leftover, (0, 0))
    open_store(url)
    assert not leftover.exists()


def test_deleted_folders_leave_no_empty_ones(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/root")
    store.put("a/b/c", b"")
    store.delete_prefix("a/")
    assert [path.name for path in (tmp_path / "root").iterdir()] == [".incoming"]


def test_a_key_below_another_key_is_refused_by_files(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/root")
    store.put("a", b"")
    store.put("b/c", b"")
    for key in ("a/b", "b"):
        with pytest.raises(InvalidKey):
            store.put(key, b"")


@pytest.mark.parametrize("url", ["", "data", "http://x", "file://", "s3://", "s3:///prefix", "s3://b!", "file:///x?y"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"store"):
        open_store(url)


def test_an_absolute_url_leads_to_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a room").mkdir()
    monkeypatch.chdir(tmp_path / "a room")
    open_store("file://./data/my%20store").put("key", b"data")
    whole = absolute_url("file://./data/my%20store")
    monkeypatch.chdir(tmp_path)
    assert open_store(whole).read("key") == b"data"
    assert absolute_url(whole) == whole
    assert absolute_url("s3://bucket/prefix") == "s3://bucket/prefix"
