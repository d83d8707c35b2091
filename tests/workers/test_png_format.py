"""The zip of a dataset: complete, repeatable, and never held in memory."""

import hashlib
import io
import json
import tracemalloc
import zipfile
from collections.abc import Iterator

import numpy as np

from service.label_schema import LabelClass
from workers.png import image_png, mask_png, palette
from workers.png_format import Enclosures, png_zip
from workers.tars import PackedSample, SampleFacts

CLASSES = [LabelClass(name="floor", color="#101010"), LabelClass(name="bear", color="#8b5a2b")]
ENCLOSURES = Enclosures(lambda: {"count": 3}, lambda: "# card", lambda: b"png")


def samples(count: int, picture: bytes | None = None) -> Iterator[PackedSample]:
    for index in range(count):
        image = picture or image_png(np.full((4, 4, 3), index % 256, np.uint8))
        mask = mask_png(np.zeros((4, 4), np.uint8), palette(CLASSES))
        yield PackedSample(SampleFacts(index, 0.5, [12, 4]), image, mask)


def zipped(count: int, shard_bytes: int = 0) -> bytes:
    return b"".join(png_zip(samples(count), CLASSES, ENCLOSURES, count, shard_bytes))


def test_it_holds_every_sample_and_a_line_about_each() -> None:
    with zipfile.ZipFile(io.BytesIO(zipped(3))) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        lines = [json.loads(line) for line in archive.read("metadata.jsonl").splitlines()]
        assert json.loads(archive.read("dataset.json")) == {"count": 3}
    assert names == [
        *(f"{folder}/{index:09d}.png" for index in range(3) for folder in ("images", "masks")),
        "metadata.jsonl",
        "dataset.json",
        "README.md",
        "preview.png",
    ]
    assert lines[2] == {
        "index": 2,
        "file_name": "images/000000002.png",
        "mask_file_name": "masks/000000002.png",
        "uncertainty": 0.5,
        "coverage": {"floor": 0.75, "bear": 0.25},
    }


def test_members_are_stored_with_sizes_in_front() -> None:
    """A reader that streams needs the sizes before the data: no data descriptors, no compression."""
    with zipfile.ZipFile(io.BytesIO(zipped(3))) as archive:
        assert all(
            info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 0x08 for info in archive.infolist()
        )
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_same_samples_give_the_same_bytes() -> None:
    assert zipped(5) == zipped(5)


def test_more_than_a_zip_without_extensions_can_hold() -> None:
    with zipfile.ZipFile(io.BytesIO(zipped(33_000))) as archive:
        assert len(archive.namelist()) == 66_004
    with zipfile.ZipFile(io.BytesIO(zipped(2, shard_bytes=5 * 2**30))) as archive:
        assert archive.testzip() is None


def test_memory_does_not_grow_with_the_pictures() -> None:
    """500 samples of 1 MB each pass through in a few megabytes."""
    picture = bytes(10**6)
    digest, total = hashlib.sha256(), 0
    tracemalloc.start()
    for chunk in png_zip(samples(500, picture), CLASSES, ENCLOSURES, 500, 0):
        digest.update(chunk)
        total += len(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 500 * 10**6
    assert peak < 16 * 2**20
