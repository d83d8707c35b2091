"""Object stores: where everything that must survive is kept."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from service.stores.file import FileStore
from service.stores.protocol import InvalidKey, ObjectMissing, Store, StoredObject, StoreFull, StoreUnavailable
from service.stores.s3 import S3Store

__all__ = [
    "FileStore",
    "InvalidKey",
    "ObjectMissing",
    "S3Store",
    "Store",
    "StoreFull",
    "StoreUnavailable",
    "StoredObject",
    "absolute_url",
    "open_store",
]

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")


def open_store(url: str, s3_endpoint_url: str | None = None, s3_public_endpoint_url: str | None = None) -> Store:
    """The store at `url`: `file:///absolute/dir`, `file://./relative/dir` or `s3://bucket/prefix`.

    `s3_endpoint_url` is an S3-compatible server other than AWS; `s3_public_endpoint_url` is the address of the same
    server for those who download from it, where that differs. Raises `ValueError` for any other URL.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = unquote(parts.netloc + parts.path)
        if not path or parts.query or parts.fragment:
            raise ValueError("a file store's URL is file:// and a directory")
        return FileStore(Path(path))
    if parts.scheme == "s3":
        if not parts.netloc or parts.query or parts.fragment:
            raise ValueError("an S3 store's URL is s3://bucket or s3://bucket/prefix")
        if not _BUCKET.fullmatch(parts.netloc):
            raise ValueError(
                "the bucket of an S3 store has a name of letters, digits, dots, hyphens and underscores only"
            )
        return S3Store(parts.netloc, parts.path.strip("/"), s3_endpoint_url, s3_public_endpoint_url)
    raise ValueError("a store's URL starts with file:// or s3://")


def absolute_url(url: str) -> str:
    """The URL of the same store from whichever directory it is opened."""
    parts = urlsplit(url)
    return Path(unquote(parts.netloc + parts.path)).resolve().as_uri() if parts.scheme == "file" else url
