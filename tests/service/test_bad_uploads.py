"""Every bad upload gets a clear answer, and leaves nothing behind."""

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.datastructures import FormData, UploadFile

from service.stores import FileStore
from service.upload_form import _project_part
from tests.costly_pictures import jpeg_of_scans, jpeg_of_segments, png_of_chunks
from tests.service.uploads import (
    PROJECT,
    assert_refused,
    good_files,
    image_bytes,
    labeled_files,
    mask_bytes,
    png,
    post_files,
    post_zip,
    zipped,
)

Files = dict[str, bytes]
IMAGE, MASK = "images/bear00.png", "segmentation/bear00.png"


def with_mask(data: bytes) -> Callable[[], Files]:
    return lambda: good_files() | {MASK: data}


def with_image(data: bytes) -> Callable[[], Files]:
    return lambda: good_files() | {IMAGE: data}


def with_project(**changes: Any) -> Callable[[], Files]:
    project = {name: value for name, value in (PROJECT | changes).items() if value is not None}
    return lambda: good_files() | {"project.json": json.dumps(project).encode()}


def project_text(data: bytes) -> Callable[[], Files]:
    return lambda: good_files() | {"project.json": data}


def mirrored(name: str, mirror: str | None = None) -> list[dict[str, str | None]]:
    return [{"name": name, "mirror": mirror}, {"name": "b"}, {"name": "d"}]


def huge_png() -> bytes:
    """A tiny file whose header declares 50,000 x 50,000 pixels."""
    data = bytearray(image_bytes((2, 2)))
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def animated() -> bytes:
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "blue")]
    return png(frames[0], save_all=True, append_images=frames[1:])


def strange_mask() -> bytes:
    array = np.zeros((64, 64), np.uint8)
    array[:2, :10] = 7
    array[5, 5] = 255
    return png(Image.fromarray(array))


rgb_mask = image_bytes()
sixteen_bit = png(Image.fromarray(np.full((64, 64), 1000, np.uint16)))

CASES: list[tuple[str, Callable[[], Files], str | None, str]] = [
    ("51 images", lambda: good_files(51), None, "51 images are more than 50"),
    ("0 images", lambda: {"project.json": json.dumps(PROJECT).encode()}, None, "there are no images"),
    ("no mask", lambda: {k: v for k, v in good_files().items() if k != MASK}, IMAGE, "no mask"),
    ("no image", lambda: {k: v for k, v in good_files().items() if k != IMAGE}, MASK, "no image"),
    ("sizes differ", with_mask(mask_bytes((64, 32))), MASK, "the mask is 64 x 32 pixels, its image is 64 x 64"),
    (
        "strange values",
        with_mask(strange_mask()),
        MASK,
        "value 7 in 20 pixels: outside the class list, which ends at 2",
    ),
    ("RGB mask", with_mask(rgb_mask), MASK, "it is RGB"),
    ("16-bit mask", with_mask(sixteen_bit), MASK, "16 bits"),
    ("JPEG as mask", with_mask(image_bytes(mode="L", kind="JPEG")), MASK, "it is not a PNG"),
    ("16-bit image", with_image(sixteen_bit), IMAGE, "16 bits"),
    ("truncated image", with_image(image_bytes()[:2000]), IMAGE, "not a whole PNG or JPEG"),
    ("truncated JPEG", with_image(image_bytes(kind="JPEG")[:700]), IMAGE, "not a whole PNG or JPEG"),
    ("truncated mask", with_mask(mask_bytes()[:-30]), MASK, "not a whole PNG"),
    ("text as image", with_image(b"hello"), IMAGE, "not a whole PNG or JPEG"),
    ("empty image", with_image(b""), IMAGE, "not a whole PNG or JPEG"),
    ("GIF as image", with_image(image_bytes(mode="P", kind="GIF")), IMAGE, "not a whole PNG or JPEG"),
    ("too many pixels", with_image(image_bytes((1001, 1000), mode="L")), IMAGE, "more than 1000000"),
    ("declared bomb", with_image(huge_png()), IMAGE, "pixels"),
    ("mask bomb", with_mask(huge_png()), MASK, "pixels"),
    ("segments", with_image(jpeg_of_segments(5000)), IMAGE, "more than 2000 segments"),
    ("scans", with_image(jpeg_of_scans(200)), IMAGE, "more than 100 scans"),
    ("chunks", with_mask(png_of_chunks(5000)), MASK, "more than 1000 chunks"),
    ("animation", with_image(animated()), IMAGE, "animated"),
    ("one NAME twice", lambda: good_files() | {"images/bear00.jpg": image_bytes(kind="JPEG")}, None, "same NAME"),
    ("stray file", lambda: good_files() | {"notes.txt": b"hi"}, "notes.txt", "neither an image nor labels"),
    ("deeper folder", lambda: good_files() | {"images/a/b.png": image_bytes()}, "images/a/b.png", "neither"),
    ("no project", lambda: {k: v for k, v in good_files().items() if k != "project.json"}, "project.json", "missing"),
    ("project not JSON", lambda: good_files() | {"project.json": b"{"}, "project.json", "not JSON"),
    ("project a list", lambda: good_files() | {"project.json": b"[]"}, "project.json", "dictionary"),
    ("unknown generator", with_project(generator="dogs"), "project.json", "unknown generator"),
    ("generator elsewhere", with_project(generator="../x"), "project.json", "unknown generator"),
    ("unknown field", with_project(clases=[]), "project.json", "unknown field"),
    ("one class", with_project(classes=[{"name": "a"}]), "project.json", "at least 2"),
    ("class twice", with_project(classes=[{"name": "a"}, {"name": "A"}]), "project.json", "name of its own"),
    ("bad colour", with_project(classes=[{"name": "a", "color": "red"}, {"name": "b"}]), "project.json", "pattern"),
    ("no name", with_project(name=None), "project.json", "required"),
    ("unknown kind", with_project(label_kinds=["depth"]), "project.json", "segmentation"),
    ("256 classes", with_project(classes=[{"name": str(i)} for i in range(256)]), "project.json", "more than 255"),
    ("kind twice", with_project(label_kinds=["segmentation"] * 2), "project.json", "named once"),
    ("no kind", with_project(label_kinds=[]), "project.json", "at least 1"),
    ("strange kind", with_project(label_kinds=["boxes"]), "project.json", "'segmentation', 'keypoints'"),
    ("no classes", with_project(classes=None), "project.json", "names no classes, and there are files"),
    ("mirror unknown", with_project(classes=mirrored("a", "c")), "project.json", "`c` is no name of the list"),
    ("mirror one way", with_project(classes=mirrored("a", "b")), "project.json", "`b`, which mirrors nothing"),
    ("control characters in a name", with_project(classes=mirrored("a\x1b[2J")), "project.json", "control characters"),
    ("a line break in the name", with_project(name="a\nb"), "project.json", "`a�b` holds line breaks"),
    ("code as unit", with_project(depth={"unit": "m\nimport os#"}), "project.json", "`m�import os#` holds line breaks"),
    ("a field twice", project_text(b'{"name": "a", "name": "b"}'), "project.json", "'name' is there twice"),
    ("NaN", project_text(b'{"name": NaN}'), "project.json", "NaN is not a number"),
    ("nested deep", project_text(b"[" * 100_000), "project.json", "nested too deep"),
    ("a surrogate as field", project_text(b'{"\\ud800": 1}'), "project.json", "unicode"),
    ("very many faults", project_text(b'{"classes": [' + b"0," * 5000 + b"0]}"), "project.json", "more faults"),
    ("very many values", project_text(b"[" + b"0," * 50_000 + b"0]"), "project.json", "more than 30000 names"),
    ("forced stranger", with_project(forced_seeds=["bear09"]), "project.json", "'bear09' is the NAME of no image"),
    ("forced twice", with_project(forced_seeds=["bear00"] * 2), "project.json", "'bear00' is there twice"),
    ("forced is no list", with_project(forced_seeds="bear00"), "project.json", "valid list"),
    ("dots", lambda: good_files() | {"../evil.png": b""}, "../evil.png", "`..`"),
    ("absolute name", lambda: good_files() | {"/etc/x.png": b""}, "/etc/x.png", "absolute"),
    ("backslash", lambda: good_files() | {"images\\a.png": b""}, "images\\a.png", "backslash"),
    ("twins by case", lambda: good_files() | {"images/BEAR00.png": b""}, "images/BEAR00.png", "same name"),
]


@pytest.mark.parametrize("post", ["zip", "files"])
@pytest.mark.parametrize(("make", "file", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_bad_upload_is_refused(
    api: httpx.Client, api_store: FileStore, post: str, make: Callable[[], Files], file: str | None, message: str
) -> None:
    files = make()
    answer = post_zip(api, zipped(files)) if post == "zip" else post_files(api, files)
    assert_refused(answer, api_store, file, message)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b'{"name": "\xff"}', "not JSON"), (json.dumps("ab" * 2**19).encode(), "larger than 1048576 bytes")],
    ids=["not UTF-8", "large"],
)
def test_a_bad_project_inside_a_zip_is_refused(
    api: httpx.Client, api_store: FileStore, data: bytes, message: str
) -> None:
    files = good_files() | {"project.json": data}
    assert_refused(post_zip(api, zipped(files, zipfile.ZIP_STORED)), api_store, "project.json", message)


def test_every_fault_is_told_at_once(api: httpx.Client, api_store: FileStore) -> None:
    files = good_files(5) | {
        "project.json": json.dumps(PROJECT | {"generator": "dogs"}).encode(),
        "images/bear00.png": b"junk",
        "segmentation/bear01.png": strange_mask(),
        "segmentation/bear02.png": mask_bytes((10, 10)),
        "stray": b"",
    }
    del files["segmentation/bear03.png"]
    errors = assert_refused(post_zip(api, zipped(files)), api_store, None, "unknown generator")
    assert [error["file"] for error in errors] == [
        "project.json",
        "images/bear00.png",
        "images/bear03.png",
        "segmentation/bear01.png",
        "segmentation/bear02.png",
        "stray",
    ]
    assert all(error["remedy"] for error in errors)
    assert "toy" in errors[0]["remedy"]


def test_a_fault_of_the_project_is_none_of_its_labels(api: httpx.Client, api_store: FileStore) -> None:
    for change in ({"generator": "dogs"}, {"clases": []}):
        errors = assert_refused(post_files(api, labeled_files(**change)), api_store, "project.json", "unknown")
        assert len(errors) == 1, errors


def test_what_does_not_print_is_told_with_field_and_remedy(api: httpx.Client, api_store: FileStore) -> None:
    files = with_project(name="a\u2028b", depth={"unit": "m\x1b[2J", "scale": 1.0})()
    errors = assert_refused(post_files(api, files), api_store, "project.json", "other characters that do not print")
    told = {error["field"]: error["remedy"] for error in errors if "do not print" in error["message"]}
    assert told == dict.fromkeys(["name", "depth.unit"], "use characters that print")


def test_a_mask_must_match_its_image_as_shown(api: httpx.Client, api_store: FileStore) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    files = good_files(1) | {IMAGE: image_bytes((80, 40), exif=exif), MASK: mask_bytes((80, 40))}
    errors = assert_refused(post_files(api, files), api_store, MASK, "its image upright")
    assert "is 40 x 80" in errors[0]["message"]


def rewritten(name: str, change: Callable[[zipfile.ZipInfo], None]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in good_files().items():
            archive.writestr(path, data)
        info = zipfile.ZipInfo(name)
        change(info)
        archive.writestr(info, b"target")
    return buffer.getvalue()


def mode(bits: int) -> Callable[[zipfile.ZipInfo], None]:
    def change(info: zipfile.ZipInfo) -> None:
        info.create_system = 3
        info.external_attr = bits << 16

    return change


def encrypted() -> bytes:
    data = bytearray(zipped({"images/secret.png": b"x"} | good_files()))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def directory_of_many() -> bytes:
    return zipped({f"images/{number}.png": b"" for number in range(20_000)})


def lying_about_its_directory() -> bytes:
    """One member, but the end record declares a directory of 100 MB."""
    data = bytearray(zipped({"a": b""}))
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = (100_000_000).to_bytes(4, "little")
    return bytes(data)


def understated() -> bytes:
    """A member that declares 10 bytes and unpacks to 30 MB."""
    data = bytearray(zipped({"images/bear00.png": b"\0" * 30_000_000} | {MASK: mask_bytes()}))
    real = (30_000_000).to_bytes(4, "little")
    for _ in range(2):
        at = data.index(real)
        data[at : at + 4] = (10).to_bytes(4, "little")
    return bytes(data)


ZIPS: list[tuple[str, Callable[[], bytes], str | None, str]] = [
    ("link", lambda: rewritten("images/l.png", mode(0o120777)), "images/l.png", "it is a link"),
    ("device", lambda: rewritten("images/d.png", mode(0o020666)), "images/d.png", "special file"),
    ("drive letter", lambda: zipped(good_files() | {"C:/x.png": b""}), "C:/x.png", "absolute"),
    ("control characters", lambda: zipped(good_files() | {"images/a\x1b[2J.png": b""}), None, "control characters"),
    ("encrypted", encrypted, "images/secret.png", "encrypted"),
    ("bzip2", lambda: zipped(good_files(), zipfile.ZIP_BZIP2), "project.json", "compression"),
    ("truncated", lambda: zipped(good_files())[:-40], None, "not a zip, or it is cut off"),
    ("no zip", lambda: b"hello", None, "not a zip"),
    ("empty", lambda: b"", None, "not a zip"),
    ("declared bomb", lambda: zipped({"images/a.png": b"\0" * 9_000_000}), None, "unpacks to more than 8388608"),
    ("ratio", lambda: zipped(good_files() | {"images/a.png": b"\0" * 5_000_000}), "images/a.png", "200 times"),
    ("understated", understated, "images/bear00.png", "damaged"),
    ("many members", directory_of_many, None, "more than 216 members"),
    ("a lie about the directory", lying_about_its_directory, None, "not a zip, or it is cut off"),
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("make", "file", "message"), [case[1:] for case in ZIPS], ids=[case[0] for case in ZIPS])
def test_a_bad_zip_is_refused(
    api: httpx.Client, api_store: FileStore, make: Callable[[], bytes], file: str | None, message: str
) -> None:
    assert_refused(post_zip(api, make()), api_store, file, message)


@pytest.mark.parametrize("make", [lambda: zipped(good_files())[:-40], directory_of_many], ids=["truncated", "many"])
def test_of_a_zip_that_is_not_looked_into_nothing_else_is_said(
    api: httpx.Client, api_store: FileStore, make: Callable[[], bytes]
) -> None:
    errors = assert_refused(post_zip(api, make()), api_store, None, "")
    assert [error["field"] for error in errors] == ["archive"]


def test_a_name_twice_in_a_zip_is_refused(api: httpx.Client, api_store: FileStore) -> None:
    buffer = io.BytesIO(zipped(good_files()))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(IMAGE, b"other")
    assert_refused(post_zip(api, buffer.getvalue()), api_store, IMAGE, "the same name as")


def test_a_bad_crc_is_told_of_the_file(api: httpx.Client, api_store: FileStore) -> None:
    data = bytearray(zipped(good_files(), zipfile.ZIP_STORED))
    at = data.index(image_bytes()[:40]) + 100
    data[at] ^= 0xFF
    assert_refused(post_zip(api, bytes(data)), api_store, IMAGE, "damaged")


def test_unknown_parts_are_told(api: httpx.Client, api_store: FileStore) -> None:
    answer = api.post("/projects", files={"image": ("images/a.png", image_bytes())})
    errors = assert_refused(answer, api_store, None, "unknown part")
    assert errors[0]["remedy"] == "the parts are archive, files, project"


def test_either_an_archive_or_files(api: httpx.Client, api_store: FileStore) -> None:
    parts = [("archive", ("a.zip", zipped(good_files()))), ("files", ("images/a.png", image_bytes()))]
    assert_refused(api.post("/projects", files=parts), api_store, None, "either one archive or single files")


@pytest.mark.parametrize("content_type", ["application/json", "application/zip", "text/plain", None])
def test_another_content_type_is_415(api: httpx.Client, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = api.post("/projects", content=zipped(good_files()), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-media-type")


def test_a_broken_multipart_body_is_400(api: httpx.Client) -> None:
    headers = {"content-type": "multipart/form-data"}
    answer = api.post("/projects", content=b"--x\r\n", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize(("path", "taken"), [("/projects", 8), ("/generators", 5)])
def test_texts_that_nobody_asked_for_are_not_kept_in_memory(
    api: httpx.Client, api_store: FileStore, path: str, taken: int
) -> None:
    def send(count: int) -> httpx.Response:
        return api.post(path, files=[(f"text-{number}", (None, b"x")) for number in range(count)])

    assert send(taken).text.count("unknown part") == taken, "some are told by name"
    answer = send(taken + 1)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-multipart")
    assert f"More than {taken} parts come without a file name." in answer.json()["detail"]
    assert [row.key for row in api_store.list()] == ["generators/toy/generator.json"]


@pytest.mark.parametrize("charset", ["undefined", "unicode_escape", "idna", "utf-7", "nonsense", "utf-8"])
@pytest.mark.parametrize("path", ["/projects", "/generators"])
def test_texts_are_utf_8_whatever_the_body_says(
    api: httpx.Client, api_store: FileStore, path: str, charset: str
) -> None:
    """Many of Python's codecs raise errors of their own, or give characters that cannot be written again."""
    lines = [
        b"--b",
        b'Content-Disposition: form-data; name="b\xc3\xa4r\\ud800"',
        b"",
        b"b\xc3\xa4r \\ud800",
        b"--b--",
        b"",
    ]
    headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = api.post(path, content=b"\r\n".join(lines), headers=headers)
    assert answer.status_code == 422, answer.text
    assert any(error.get("field", "").startswith("bär") for error in answer.json()["errors"])
    assert [row.key for row in api_store.list()] == ["generators/toy/generator.json"]


def test_of_a_project_part_that_is_too_large_no_more_is_read(api: httpx.Client, api_store: FileStore) -> None:
    parts = {"archive": ("a.zip", zipped(good_files())), "project": ("project.json", b" " * (2**20 + 1))}
    assert_refused(api.post("/projects", files=parts), api_store, "project.json", "larger than 1048576 bytes")
    stream = io.BytesIO(bytes(4 * 2**20))
    form = FormData([("project", UploadFile(stream, filename="project.json"))])
    assert len(_project_part(form, []) or b"") == stream.tell() == 2**20 + 1


@pytest.mark.parametrize("way", ["declared", "chunked"])
def test_a_body_over_the_limit_is_413(api: httpx.Client, api_store: FileStore, way: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="archive"; filename="a.zip"\r\n\r\n' + b"x" * (5 * 2**20)
    chunks = (body[start : start + 65536] for start in range(0, len(body), 65536))
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = api.post("/projects", content=body if way == "declared" else chunks, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
    assert "LABELMINT_MAX_UPLOAD_BYTES" in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert [row.key for row in api_store.list()] == ["generators/toy/generator.json"]


def test_nothing_is_said_that_was_not_sent(api: httpx.Client, api_directory: Any) -> None:
    answer = post_zip(api, zipped(good_files() | {"images/bear00.png": b"junk"}))
    for ours in (str(api_directory), "Traceback", "PIL", "tmp"):
        assert ours not in answer.text
