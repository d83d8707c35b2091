"""Objects in a bucket of any server that speaks S3."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.response import StreamingBody
from botocore.utils import is_valid_endpoint_url, is_valid_ipv6_endpoint_url

from service.stores.keys import check_folder, check_key, check_prefix, check_range
from service.stores.protocol import ObjectMissing, StoredObject, StoreUnavailable
from service.stores.s3_faults import fault_of_answer, fault_of_sdk

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PART_BYTES = 16 * 2**20
_DELETE_BATCH = 1000
_CHUNK = 1 << 18
_ATTEMPTS = 5
_MISSING = {"NoSuchKey", "404", "NotFound"}


def check_endpoint(url: str) -> None:
    """Raises `ValueError` unless `url` can be the address of a server, as boto3 sees it."""
    parts = urlsplit(url)
    named = is_valid_endpoint_url(url) or is_valid_ipv6_endpoint_url(url)
    if not named or parts.scheme not in ("http", "https") or parts.port == 0:
        raise ValueError(
            "the URL of an S3 server starts with http:// or https://, and the name of its host has letters, digits, "
            "dots and hyphens only"
        )


class S3Store:
    """A `Store` of the objects below `prefix` in one bucket.

    Credentials and region come from where boto3 finds them: environment, profile or instance role.
    """

    def __init__(
        self, bucket: str, prefix: str = "", endpoint_url: str | None = None, public_endpoint_url: str | None = None
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{check_key(prefix)}/" if prefix else ""
        self._endpoint_url = endpoint_url
        self._public_endpoint_url = public_endpoint_url or endpoint_url
        self._clients: dict[tuple[int, str | None], S3Client] = {}
        # Parts in flight bound the memory of an upload: 4 × 16 MiB, while one object may reach 160 GB.
        self._transfer = TransferConfig(
            multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=2
        )
        self._transfer.max_in_memory_upload_chunks = 4

    def put(self, key: str, data: bytes | BinaryIO) -> int:
        """See `Store.put`."""
        name = self._name(key)
        with self._translated(key):
            if isinstance(data, bytes):
                self._client.put_object(Bucket=self._bucket, Key=name, Body=data)
                return len(data)
            reader = _CountingReader(data)
            self._client.upload_fileobj(cast(BinaryIO, reader), self._bucket, name, Config=self._transfer)
            return reader.count

    def open(self, key: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """See `Store.open`. A connection that breaks while reading raises `StoreUnavailable`."""
        check_range(start, end)
        if end is not None and end <= start:
            self.size(key)
            return io.BytesIO()
        name = self._name(key)
        with self._translated(key):
            if start == 0 and end is None:
                answer = self._client.get_object(Bucket=self._bucket, Key=name)
            else:
                span = f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
                try:
                    answer = self._client.get_object(Bucket=self._bucket, Key=name, Range=span)
                except ClientError as error:
                    if _code(error) in {"InvalidRange", "416"}:
                        return io.BytesIO()
                    raise
            return cast(BinaryIO, io.BufferedReader(_Body(answer["Body"]), _CHUNK))

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        with self.open(key) as stream:
            return stream.read()

    def size(self, key: str) -> int:
        """See `Store.size`."""
        name = self._name(key)
        with self._translated(key):
            return self._client.head_object(Bucket=self._bucket, Key=name)["ContentLength"]

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        try:
            self.size(key)
        except ObjectMissing:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `Store.list`. Holds one page of at most 1000 rows."""
        name = self._prefix + check_prefix(prefix)
        with self._translated():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=name)
            for page in pages:
                for row in page.get("Contents", ()):
                    key = row["Key"].removeprefix(self._prefix)
                    # Consoles leave folder markers, whose names end in a slash.
                    if not key.endswith("/"):
                        yield StoredObject(key, row["Size"], row["LastModified"])

    def folders(self, prefix: str) -> Iterator[str]:
        """See `Store.folders`. Holds one page of at most 1000."""
        name = self._prefix + check_folder(prefix)
        with self._translated():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=name, Delimiter="/"
            )
            for page in pages:
                for row in page.get("CommonPrefixes", ()):
                    yield row["Prefix"].removeprefix(name).removesuffix("/")

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        name = self._name(key)
        with self._translated():
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def delete_prefix(self, prefix: str) -> int:
        """See `Store.delete_prefix`."""
        check_folder(prefix)
        count = 0
        for rows in _batches(self.list(prefix), _DELETE_BATCH):
            with self._translated():
                answer = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": [{"Key": self._name(row.key)} for row in rows], "Quiet": True},
                )
            if failures := answer.get("Errors"):
                raise StoreUnavailable(f"S3 kept {len(failures)} objects it was told to delete")
            count += len(rows)
        return count

    def drop_unfinished(self, older_than: timedelta) -> int:
        """See `Store.drop_unfinished`: the parts of uploads that nobody ends, which no list shows and S3 charges for.

        Raises `StoreUnavailable` where S3 does not let them be listed or dropped, too.
        """
        limit, count = datetime.now(UTC) - older_than, 0
        with self._translated():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < limit:
                        self._abort(upload["Key"], upload["UploadId"])
                        count += 1
        return count

    def _abort(self, name: str, upload_id: str) -> None:
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload_id)
        except ClientError as error:
            if _code(error) != "NoSuchUpload":  # another worker was faster
                raise

    def presign(self, key: str, filename: str, expires_s: int = 3600) -> str | None:
        """A URL that downloads the object as `filename` for `expires_s` seconds. Does not look whether it exists."""
        name = self._name(key)
        plain = "".join(c for c in filename if c.isascii() and (c.isalnum() or c in "._-")) or "download"
        with self._translated(key):
            return self._client_at(self._public_endpoint_url).generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._bucket,
                    "Key": name,
                    "ResponseContentDisposition": f'attachment; filename="{plain}"',
                },
                ExpiresIn=expires_s,
            )

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    @property
    def _client(self) -> "S3Client":
        return self._client_at(self._endpoint_url)

    def _client_at(self, endpoint_url: str | None) -> "S3Client":
        # A client's open connections must not be shared with a forked child, so each process makes its own.
        owner = (os.getpid(), endpoint_url)
        if owner not in self._clients:
            extra: dict[str, Any] = {}
            if endpoint_url is not None:
                # Servers other than AWS seldom know bucket host names and the newer checksum trailers.
                extra = {
                    "s3": {"addressing_style": "path"},
                    "request_checksum_calculation": "when_required",
                    "response_checksum_validation": "when_required",
                }
            config = Config(
                signature_version="s3v4",
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "max_attempts": _ATTEMPTS},
                **extra,
            )
            session = boto3.session.Session()
            with self._translated():
                self._clients[owner] = session.client(
                    "s3", endpoint_url=endpoint_url, config=config, region_name=session.region_name or "us-east-1"
                )
        return self._clients[owner]

    @contextmanager
    def _translated(self, key: str = "") -> Iterator[None]:
        """Turn the SDK's errors into the project's."""
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code in _MISSING:
                raise ObjectMissing(key) from error
            raise StoreUnavailable(fault_of_answer(code, self._bucket)) from error
        except (Boto3Error, BotoCoreError) as error:
            raise StoreUnavailable(fault_of_sdk(error)) from error


class _CountingReader:
    """Counts what is read, and hides every other ability of the stream, so that it is never sought.

    A read is filled up to the size asked for: the SDK takes a short one for the end, and a whole object into memory.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        parts = []
        while size != 0 and (data := self._stream.read(size)):
            parts.append(data)
            self.count += len(data)
            size = size - len(data) if size > 0 else size
        return b"".join(parts)


class _Body(io.RawIOBase):
    """A response's body as a plain Python stream."""

    def __init__(self, body: StreamingBody) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            data = self._body.read(len(buffer))
        except (BotoCoreError, HTTPClientError, OSError) as error:
            raise StoreUnavailable(f"S3 broke off: {type(error).__name__}") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._body.close()
        super().close()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _batches(rows: Iterator[StoredObject], size: int) -> Iterator[list[StoredObject]]:
    while batch := list(islice(rows, size)):
        yield batch
