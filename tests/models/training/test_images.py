"""Pictures of all kinds, whole and hostile, in folders and zips."""

import io
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.training import sources
from models.training.batches import draw_batch
from models.training.bears import render_training_bears
from models.training.images import RESERVE_BYTES, TooFewImages, prepare_images
from models.training.sources import SourceRefused
from tests.costly_pictures import jpeg_of_scans, jpeg_of_segments, png_of_chunks
from tests.large_directory import read_as_newer_pythons_do, zip_of_hidden_directory
from tests.models.training.subjects import save_pictures
from untrusted import reading


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def plain(color: tuple[int, ...], size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, color)


def claiming_png(side: int) -> bytes:
    """A header of that many pixels a side, and hardly a byte of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def write(folder: Path, **files: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


def as_zip(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"top/{file.relative_to(folder)}")
    return path


def prepare(source: Path, tmp_path: Path, fit: str = "crop", resolution: int = 8, minimum: int = 1):
    return prepare_images(source, resolution, fit, tmp_path / "cache", minimum=minimum)


BAD = {
    "animated_webp": (
        encoded(plain((1, 2, 3)), "WEBP", save_all=True, append_images=[plain((9, 9, 9))], lossless=True),
        "it is animated",
    ),
    "apng_png": (encoded(plain((1, 2, 3)), save_all=True, append_images=[plain((9, 9, 9))]), "it is animated"),
    "deep_png": (encoded(Image.fromarray(np.zeros((16, 16), np.uint16))), "16 bits a channel"),
    "gif_png": (encoded(plain((1, 2, 3)), "GIF"), "not a whole PNG, JPEG or WebP"),
    "large_png": (claiming_png(10_000), "10000 x 10000 pixels, more than 64000000"),
    "huge_png": (claiming_png(30_000), "far too many pixels"),
    "cut_jpg": (encoded(Image.effect_noise((64, 64), 90), "JPEG")[:900], "not a whole"),
    "text_png": (b"not an image", "not a whole"),
    "empty_jpeg": (b"", "not a whole"),
    "segments_jpg": (jpeg_of_segments(5000), "more than 2000 segments"),
    "scans_jpg": (jpeg_of_scans(200), "more than 100 scans"),
    "chunks_png": (png_of_chunks(5000), "more than 1000 chunks"),
    "tiny_png": (encoded(plain((1, 2, 3), (3, 30))), "it is 3 x 30 pixels"),
}


@pytest.mark.parametrize("zipped", [False, True])
def test_every_bad_file_is_named_with_its_reason_and_the_good_ones_are_taken(tmp_path: Path, zipped: bool) -> None:
    source = write(tmp_path / "in", **{name: data for name, (data, _) in BAD.items()})
    save_pictures(source, 5)
    write(source, notes_txt=b"words")
    if zipped:
        source = as_zip(source, tmp_path / "in.zip")
    found = prepare(source, tmp_path)
    assert found.pixels.shape == (5, 8, 8, 3)
    assert found.report is not None
    assert (found.report.files, found.report.ignored) == (5 + len(BAD), 1)
    told = {Path(r.file).name: r for r in found.report.rejected}
    assert told.keys() == {name.replace("_", ".") for name in BAD}
    for name, (_, words) in BAD.items():
        rejection = told[name.replace("_", ".")]
        assert words in rejection.reason
        assert rejection.remedy


def test_too_few_images_are_refused_with_all_reasons_at_once(tmp_path: Path) -> None:
    source = write(tmp_path / "in", a_png=b"x", b_png=b"y", c_png=encoded(plain((1, 2, 3))))
    write(source, d_png=encoded(plain((1, 2, 3))))
    with pytest.raises(TooFewImages, match=r"1 images to train on, and 100 are the least.*a\.png.*b\.png.*1 were dup"):
        prepare(source, tmp_path, minimum=100)
    assert list((tmp_path / "cache").iterdir()) == []
    (tmp_path / "none").mkdir()
    with pytest.raises(TooFewImages, match="put PNG, JPEG or WebP pictures there"):
        prepare(tmp_path / "none", tmp_path)
    with pytest.raises(SourceRefused, match="neither a folder nor a zip"):
        prepare(tmp_path / "nowhere", tmp_path)
    with pytest.raises(ValueError, match="fit 'pad': must be crop, random-crop, stretch"):
        prepare(source, tmp_path, fit="pad")


def only_image(data: bytes, name: str, tmp_path: Path, fit: str = "crop") -> tuple[np.ndarray, dict[str, int]]:
    found = prepare(write(tmp_path / "one", **{name: data}), tmp_path, fit)
    assert found.report is not None
    return found.pixels[0], found.report.notes


def test_what_is_odd_is_made_plain_and_told(tmp_path: Path) -> None:
    half = plain((0, 0, 200, 0), mode="RGBA")
    pixels, notes = only_image(encoded(half), "alpha_png", tmp_path)
    assert (pixels == 255).all()
    assert notes == {"transparency was laid over white": 1}


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    shown, notes = only_image(encoded(Image.fromarray(pixels), "JPEG", quality=95, exif=exif), "turned_jpg", tmp_path)
    assert notes == {"EXIF orientation was applied": 1}
    assert shown[:3].mean() < 20
    assert shown[5:].mean() > 235


@pytest.mark.parametrize(
    ("mode", "color"), [("L", 77), ("P", 3), ("CMYK", (0, 0, 0, 0)), ("1", 1), ("RGBA", (9, 9, 9, 255))]
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, color: object) -> None:
    image = Image.new(mode, (16, 16), color)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    pixels, _ = only_image(encoded(image, kind), "mode_jpg" if kind == "JPEG" else "mode_png", tmp_path)
    assert np.abs(pixels.astype(int) - np.asarray(image.convert("RGB"))[0, 0]).max() <= 1


def test_fits_take_what_they_say(tmp_path: Path) -> None:
    """Three stripes, 20 high and 60 wide: the middle one alone, all of them, or squares from anywhere."""
    stripes = np.zeros((20, 60, 3), np.uint8)
    for i in range(3):
        stripes[:, 20 * i : 20 * i + 20, i] = 255
    source = write(tmp_path / "in", stripes_png=encoded(Image.fromarray(stripes)))
    cropped = prepare(source, tmp_path).pixels
    assert cropped.shape == (1, 8, 8, 3)
    assert cropped[..., 1].min() > 230  # the edges take in a little of their neighbours
    stretched = prepare(source, tmp_path, "stretch").pixels[0]
    assert [stretched[4, x].argmax() for x in (0, 4, 7)] == [0, 1, 2]
    squares = prepare(source, tmp_path, "random-crop").pixels
    assert len(squares) == 8
    assert len({int(s[4, 4].argmax()) for s in squares}) > 1
    again = prepare_images(source, 8, "random-crop", tmp_path / "other", minimum=1).pixels
    assert np.array_equal(squares, again)


def test_sizes_and_duplicates_are_reported(tmp_path: Path) -> None:
    source = write(tmp_path / "in", a_png=encoded(plain((1, 2, 3), (6, 9))), b_png=encoded(plain((9, 2, 3), (20, 30))))
    write(source, c_webp=encoded(plain((9, 2, 3), (20, 30)), "WEBP", lossless=True))
    report = prepare(source, tmp_path).report
    assert report is not None
    assert (report.images, report.smallest_side, report.enlarged) == (2, 6, 1)
    assert report.duplicates == [("c.webp", "b.png")]


def test_prepared_images_are_found_again_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_pictures(tmp_path / "in", 4)
    first = prepare(source, tmp_path)
    calls: list[int] = []
    read = reading._read

    def count(*arguments: Any) -> object:
        calls.append(1)
        return read(*arguments)

    monkeypatch.setattr(reading, "_read", count)
    again = prepare(source, tmp_path)
    assert calls == []
    assert again.report == first.report
    assert again.path == first.path
    assert isinstance(again.pixels, np.memmap)
    write(source, more_png=encoded(plain((5, 5, 5))))
    assert len(prepare(source, tmp_path).pixels) == 5
    assert len(calls) == 5


def test_a_preparation_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def progress(done: int, total: int) -> None:
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        prepare_images(save_pictures(tmp_path / "in", 4), 8, "crop", tmp_path / "cache", progress, minimum=1)
    assert list((tmp_path / "cache").iterdir()) == []


def _linked(archive: zipfile.ZipFile) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(link, "/etc/passwd")


def _compressed_otherwise(archive: zipfile.ZipFile) -> None:
    archive.writestr("odd.png", encoded(plain((1, 2, 3))), zipfile.ZIP_BZIP2)


def _bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("bomb.png", b"\0" * (sources.MAX_BYTES + 1), zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    ("add", "words"),
    [(_linked, "a link"), (_compressed_otherwise, "its compression"), (_bomb, "larger than 64 MiB")],
)
def test_hostile_members_of_a_zip_are_refused(
    tmp_path: Path, add: Callable[[zipfile.ZipFile], None], words: str
) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("../../good.png", encoded(plain((1, 2, 3))))
        add(archive)
    report = prepare(tmp_path / "in.zip", tmp_path).report
    assert report is not None
    assert report.images == 1
    assert words in report.rejected[0].reason
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "in.zip"]


def test_a_member_that_lies_about_its_size_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", encoded(plain((1, 2, 3))))
    data = bytearray(path.read_bytes())
    start = data.find(b"PK\x01\x02")
    data[start + 16] ^= 0xFF  # its checksum
    path.write_bytes(data)
    with pytest.raises(TooFewImages, match=r"a\.png: it is damaged inside the zip"):
        prepare(path, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "text", "directory"])
def test_what_is_no_zip_is_refused(tmp_path: Path, damage: str) -> None:
    path = as_zip(save_pictures(tmp_path / "in", 3), tmp_path / "in.zip")
    data = path.read_bytes()
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "text":
        data = b"hello"
    else:
        end = data.rfind(b"PK\x05\x06")
        data = data[: end + 12] + struct.pack("<I", 2**31) + data[end + 16 :]
    path.write_bytes(data)
    with pytest.raises(SourceRefused, match="not a zip"):
        prepare(path, tmp_path)


def test_squares_that_the_disk_cannot_hold_are_refused_before_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = as_zip(save_pictures(tmp_path / "in", 4), tmp_path / "in.zip")
    name = prepare(source, tmp_path / "elsewhere").path.name
    squares, room = 4 * 8 * 8 * 3, 0
    real = shutil.disk_usage

    def disk_of_little_room(path: Path) -> object:
        return real(path)._replace(free=RESERVE_BYTES + room - sum(file.stat().st_size for file in path.iterdir()))

    monkeypatch.setattr(shutil, "disk_usage", disk_of_little_room)
    room = squares - 1
    words = rf"in\.zip: 4 squares of 8 x 8 pixels may take {squares} bytes of disk, and {room} are free .*; take fewer"
    with monkeypatch.context() as unread:
        unread.delattr(sources.ZipSource, "read")
        with pytest.raises(SourceRefused, match=words):
            prepare(source, tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []
    room = squares
    (tmp_path / "cache" / f".{name}.partial").write_bytes(b"left by one that was killed")
    assert len(prepare(source, tmp_path).pixels) == 4
    assert len(prepare(source, tmp_path).pixels) == 4, "found again, they need no more room"


def test_crops_at_random_need_room_for_all_of_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_pictures(tmp_path / "in", 4)
    real, room = shutil.disk_usage, 4 * 8 * 8 * 8 * 3 - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=RESERVE_BYTES + room))
    with pytest.raises(SourceRefused, match="32 squares of 8 x 8 pixels may take 6144 bytes of disk, and 6143 are"):
        prepare(source, tmp_path, fit="random-crop")
    assert len(prepare(source, tmp_path).pixels) == 4


@pytest.mark.parametrize("lost", ["the end", "all", "the report"])
def test_squares_that_are_not_all_there_are_made_again(tmp_path: Path, lost: str) -> None:
    source = save_pictures(tmp_path / "in", 4)
    first = prepare(source, tmp_path)
    expected = first.pixels.copy()
    if lost == "the end":
        first.path.write_bytes(first.path.read_bytes()[:-100])
    elif lost == "all":
        first.path.unlink()
    else:
        first.path.with_suffix(".json").write_text("{")
    assert (prepare(source, tmp_path).pixels == expected).all()


def test_a_zip_of_too_many_files_is_refused_by_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short names make a directory that is small for what it lists."""
    monkeypatch.setattr(sources, "MAX_MEMBERS", 4)
    assert len(prepare(as_zip(save_pictures(tmp_path / "in", 4), tmp_path / "in.zip"), tmp_path).pixels) == 4
    path = as_zip(save_pictures(tmp_path / "more", 5), tmp_path / "more.zip")
    with pytest.raises(SourceRefused, match="more than 4 files"):
        prepare(path, tmp_path)


def test_a_list_of_too_many_files_is_not_read_wherever_its_size_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.zip").write_bytes(zip_of_hidden_directory(9000))
    monkeypatch.setattr(sources, "MAX_MEMBERS", 100)
    read_as_newer_pythons_do(monkeypatch)
    with pytest.raises(SourceRefused, match="more than 100 files; send fewer images"):
        prepare(tmp_path / "in.zip", tmp_path)


def test_batches_are_in_range_and_mirrored_half_the_time() -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    images[:, :, 0] = 255
    batch = draw_batch(images, np.random.default_rng(0), 200, True, torch.device("cpu"))
    assert batch.shape == (200, 3, 8, 8)
    assert (batch.min(), batch.max()) == (-1, 1)
    flipped = (batch[:, 0, 0, -1] == 1).float().mean()
    assert 0.35 < float(flipped) < 0.65
    straight = draw_batch(images, np.random.default_rng(0), 50, False, torch.device("cpu"))
    assert (straight[:, :, :, 0] == 1).all()


def test_batches_are_in_no_order() -> None:
    """The discriminator compares neighbours of a batch; those of a data set may be alike."""
    levels = np.arange(256, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    batch = draw_batch(levels, np.random.default_rng(0), 200, False, torch.device("cpu"))
    rising = (batch[1:, 0, 0, 0] > batch[:-1, 0, 0, 0]).float().mean()
    assert 0.4 < float(rising) < 0.6


def test_training_bears_are_rendered_once(tmp_path: Path) -> None:
    first = render_training_bears(3, 16, tmp_path)
    stamp = first.path.stat().st_mtime_ns
    again = render_training_bears(3, 16, tmp_path)
    assert np.array_equal(first.pixels, again.pixels)
    assert again.path.stat().st_mtime_ns == stamp
    assert first.path.name == "bears-16-3.npy"
    dressed = render_training_bears(3, 16, tmp_path, dressed=True)
    assert dressed.path.name == "dressed-bears-16-3.npy"
    assert not np.array_equal(first.pixels, dressed.pixels)
