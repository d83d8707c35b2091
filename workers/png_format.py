"""The `png` format: a zip with an image and a mask a sample, what is known about each, and a card about all."""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from stream_zip import NO_COMPRESSION_32, NO_COMPRESSION_64, MemberFile, Method, stream_zip

from service.label_schema import LabelClass
from workers.dataset import coverage
from workers.tars import PackedSample, SampleFacts

_MODIFIED = datetime(1980, 1, 1, tzinfo=UTC)
"""The same for every member, so that the zip's bytes depend on the samples alone."""

_MODE = 0o100644
_CHUNK = 2**20

_ZIP_32_LARGEST_BYTES, _ZIP_32_MOST_MEMBERS = 3 * 2**30, 60_000
"""Well inside what a zip without 64-bit extensions can hold."""


@dataclass(frozen=True)
class Enclosures:
    """The small files beside the samples. They are asked for last, when every sample has been seen."""

    dataset: Callable[[], dict[str, Any]]
    """dataset.json"""
    card: Callable[[], str]
    """README.md"""
    preview: Callable[[], bytes]
    """preview.png"""


def png_zip(
    samples: Iterable[PackedSample], classes: list[LabelClass], enclosures: Enclosures, count: int, shard_bytes: int
) -> Iterator[bytes]:
    """The bytes of the zip, made while `samples` is read; nothing is held but the zip's own table of contents.

    `count` samples in shards of `shard_bytes` altogether decide whether 64-bit extensions are needed.
    """
    large = shard_bytes > _ZIP_32_LARGEST_BYTES or 2 * count > _ZIP_32_MOST_MEMBERS
    members = _members(samples, [entry.name for entry in classes], enclosures, large)
    yield from stream_zip(members, chunk_size=_CHUNK, extended_timestamps=False)


def _members(
    samples: Iterable[PackedSample], names: list[str], enclosures: Enclosures, large: bool
) -> Iterator[MemberFile]:
    def stored(size: int, crc: int) -> Method:
        return (NO_COMPRESSION_64 if large else NO_COMPRESSION_32)(size, crc)

    def member(name: str, data: bytes) -> MemberFile:
        return name, _MODIFIED, _MODE, stored(len(data), zlib.crc32(data)), (data,)

    # A million lines of metadata are some hundreds of megabytes, and a member's size and CRC stand before its bytes.
    with TemporaryFile() as metadata:
        size = crc = 0
        for sample in samples:
            image, mask = f"images/{sample.facts.index:09d}.png", f"masks/{sample.facts.index:09d}.png"
            yield member(image, sample.image)
            yield member(mask, sample.mask)
            line = _metadata_line(image, mask, sample.facts, names)
            size, crc = size + metadata.write(line), zlib.crc32(line, crc)
        yield "metadata.jsonl", _MODIFIED, _MODE, stored(size, crc), _replay(metadata)
    yield member("dataset.json", json.dumps(enclosures.dataset(), indent=2).encode())
    yield member("README.md", enclosures.card().encode())
    yield member("preview.png", enclosures.preview())


def _metadata_line(image: str, mask: str, facts: SampleFacts, names: list[str]) -> bytes:
    row = {
        "index": facts.index,
        "file_name": image,
        "mask_file_name": mask,
        "uncertainty": round(facts.uncertainty, 6),
        "coverage": dict(zip(names, coverage(facts), strict=True)),
    }
    return json.dumps(row).encode() + b"\n"


def _replay(spool: BinaryIO) -> Iterator[bytes]:
    spool.seek(0)
    while chunk := spool.read(_CHUNK):
        yield chunk
