"""Uploads of generators for tests, and generators that are there already."""

import hashlib
import json
from typing import Any

import httpx

from service.records import GeneratorRecord
from service.stores import FileStore
from tests.service.jobs import make_generator
from tests.service.uploads import image_bytes

PICKLE = b"\x80\x02}q\x00." + bytes(1000)
SAFETENSORS = (2).to_bytes(8, "little") + b"{}" + bytes(100)
IMAGES = {"a/1.png": image_bytes(), "a/2.png": image_bytes((32, 32))}


def post(api: httpx.Client, part: str, data: bytes, *, key: str | None = None, **fields: Any) -> httpx.Response:
    """Upload a generator, or what to train one on; `key` makes it safe to repeat."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    headers = {"Idempotency-Key": key} if key else {}
    return api.post("/generators", files={part: ("some model.bin", data)}, data=texts, headers=headers)


def sha256(data: bytes) -> str:
    """The hash of `data`, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def kept(store: FileStore) -> list[str]:
    """Every key in the store but those of the generator that is there from the beginning."""
    return [row.key for row in store.list() if not row.key.startswith("generators/toy/")]


def add_generator(store: FileStore, **changes: Any) -> GeneratorRecord:
    """A generator `cats` in the store, imported and without encoder; `changes` change fields of its record."""
    record = make_generator().model_copy(update={"id": "cats", "source": "nvidia", "has_encoder": False, **changes})
    store.put(GeneratorRecord.key(record.id), record.model_dump_json().encode())
    return record
