"""What an upload is, told from its content."""

import io
import tracemalloc
import zipfile

import pytest

from service.sniffing import Content, sniff
from tests.service.generator_uploads import IMAGES, PICKLE, SAFETENSORS
from tests.service.uploads import image_bytes, zipped


def torch_zip() -> bytes:
    return zipped({"archive/data.pkl": PICKLE, "archive/data/0": bytes(64), "archive/version": b"3\n"})


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (PICKLE, Content.CHECKPOINT),
        (b"\x80\x04\x95" + bytes(20), Content.CHECKPOINT),
        (SAFETENSORS, Content.CHECKPOINT),
        (torch_zip(), Content.CHECKPOINT),
        (zipped(IMAGES), Content.IMAGES),
        (zipped({"readme.txt": b"-"}), None),
        (zipped({"__MACOSX/a.png": b"-"}), None),
        (zipped({}), None),
        (torch_zip()[:-30], None),
        (image_bytes(), None),
        (b"\x1f\x8b\x08" + bytes(100), None),
        (b"\x80", None),
        (b"\xff" * 7 + b"\x7f{" + bytes(100), None),
        (b"(dp0\n.", None),
    ],
)
def test_content_is_sniffed(data: bytes, content: Content | None) -> None:
    assert sniff(io.BytesIO(data)) is content


def test_a_large_zip_directory_is_read_to_its_first_names_only() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(70_000):  # more than a zip without the 64-bit extension may hold
            archive.writestr(f"{number}.png" if number < 69_000 else f"{number}/data.pkl", b"")
    assert sniff(buffer) is Content.IMAGES


def test_images_behind_many_other_files_are_found() -> None:
    """The labels of Pascal VOC come before its images."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(17_000):
            archive.writestr(f"Annotations/{number}.xml", b"")
        archive.writestr("JPEGImages/0.jpg", b"")
    assert sniff(buffer) is Content.IMAGES


def test_long_names_in_a_zip_take_the_memory_of_one() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(200):
            archive.writestr(f"{number}".ljust(65_000, "x") + ".png", b"")
    tracemalloc.start()
    try:
        assert sniff(buffer) is Content.IMAGES
        assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    finally:
        tracemalloc.stop()
