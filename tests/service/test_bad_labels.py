"""Every fault of keypoints, depth and attributes gets a clear answer, and leaves nothing behind."""

import io
import json
import re
import struct
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.app import create_app
from service.records import GeneratorRecord
from service.settings import Settings
from service.stores import FileStore
from tests.service.jobs import make_generator
from tests.service.uploads import (
    LABELED,
    PLACES,
    POINTS,
    SPECIES,
    assert_refused,
    classes_csv,
    coco,
    depth_steps,
    image_bytes,
    keypoint_csv,
    labeled_files,
    npy,
    png,
    post_files,
    post_zip,
    zipped,
)

Files = dict[str, bytes]
Make = Callable[[], Files]
JSON, CSV, CLASSES = "keypoints.json", "keypoints.csv", "classes.csv"
DEPTH, NPY = "depth/bear00.png", "depth/bear00.npy"


def without(*paths: str, **project: Any) -> Make:
    return lambda: {path: data for path, data in labeled_files(**project).items() if path not in paths}


def project(**changes: Any) -> Make:
    return lambda: labeled_files(**changes)


def points(*, skeleton: Any = (), names: Any = POINTS) -> Make:
    return project(keypoints={"points": names, "skeleton": list(skeleton)})


def attributes(**changes: Any) -> Make:
    return project(attributes=[SPECIES | changes, LABELED["attributes"][1]])


def as_json(change: Callable[[dict[str, Any]], Any], **project: Any) -> Make:
    """The good `keypoints.json`, spoiled by `change`."""

    def make() -> Files:
        content = coco()
        change(content)
        return labeled_files(**project) | {JSON: json.dumps(content).encode()}

    return make


def raw_json(data: bytes) -> Make:
    return lambda: labeled_files() | {JSON: data}


def as_csv(old: str, new: str, count: int = 1) -> Make:
    """The good `keypoints.csv` with `old` replaced by `new`."""

    def make() -> Files:
        assert old in keypoint_csv()
        return without(JSON)() | {CSV: keypoint_csv().replace(old, new, count).encode()}

    return make


def raw_csv(data: bytes, **project: Any) -> Make:
    return lambda: without(JSON, **project)() | {CSV: data}


def classes(old: str, new: str, **project: Any) -> Make:
    """The good `classes.csv` with `old` replaced by `new`."""

    def make() -> Files:
        assert old in classes_csv()
        return labeled_files(**project) | {CLASSES: classes_csv().replace(old, new).encode()}

    return make


def raw_classes(data: bytes, **project: Any) -> Make:
    return lambda: labeled_files(**project) | {CLASSES: data}


def depth(data: bytes, **project: Any) -> Make:
    return lambda: labeled_files(**project) | {DEPTH: data}


def array(data: bytes | np.ndarray, scale: float | None = 0.001) -> Make:
    """An NPY file in the place of the first PNG."""
    content = data if isinstance(data, bytes) else npy(data, allow_pickle=True)
    return lambda: without(DEPTH, depth={"scale": scale})() | {NPY: content}


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    """An NPY file with a header of one's own, and 64 × 64 float32."""
    size = struct.pack("<H", len(text)) if version == b"\x01\x00" else struct.pack("<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode() + b"\0" * 64 * 64 * 4


def put(part: str, index: int, **fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content[part][index].update(fields)


def flat(*changes: tuple[int, Any], of: int = 0) -> Callable[[dict[str, Any]], Any]:
    """Change numbers of an annotation."""

    def change(content: dict[str, Any]) -> None:
        for place, value in changes:
            content["annotations"][of]["keypoints"][place] = value

    return change


HEADER = b"image,point,x,y,visibility\n"
MANY_ROWS = b"".join(b"%d,nose,1,1,1\n" % number for number in range(20_001))
LARGE = np.random.default_rng(0).bytes(2**21).hex().encode() + b" "
FLOAT = np.full((64, 64), 2.5, np.float32)
UNKNOWN = png(Image.fromarray(np.zeros((64, 64), np.uint16)))
EIGHT_BITS = png(Image.fromarray(np.full((64, 64), 9, np.uint8)))
DESCR = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }"

PROJECTS: list[tuple[str, Make, str, str]] = [
    ("points empty", points(names=[]), "project.json", "at least 1"),
    ("points not a list", points(names="nose"), "project.json", "valid list"),
    ("a point is a number", points(names=[1, *POINTS]), "project.json", "valid dictionary"),
    ("point twice", points(names=[*POINTS, "Nose"]), "project.json", "`nose` is there twice"),
    ("point without name", points(names=["", *POINTS]), "project.json", "at least 1 character"),
    ("point of many letters", points(names=["a" * 65, *POINTS]), "project.json", "at most 64"),
    ("257 points", points(names=[str(n) for n in range(257)]), "project.json", "at most 256"),
    ("mirror of no point", points(names=[{"name": "a", "mirror": "b"}]), "project.json", "`b` is no name of the list"),
    (
        "mirrors of three",
        points(names=[{"name": a, "mirror": b} for a, b in ("ab", "bc", "ca")]),
        "project.json",
        "`a` mirrors `b`, which mirrors `c`",
    ),
    ("skeleton to nowhere", points(skeleton=[["nose", "tail"]]), "project.json", "`tail` is no point"),
    ("skeleton to itself", points(skeleton=[["nose", "nose"]]), "project.json", "joins `nose` with itself"),
    ("skeleton of three", points(skeleton=[["nose", "left_ear", "nose"]]), "project.json", "at most 2"),
    ("long skeleton", points(skeleton=[["nose", "left_ear"]] * 1025), "project.json", "more than 1024 lines"),
    ("unknown field of keypoints", project(keypoints={"points": POINTS, "bones": []}), "project.json", "unknown field"),
    ("keypoints a list", project(keypoints=POINTS), "project.json", "valid dictionary"),
    ("depth a number", project(depth=0.001), "project.json", "valid dictionary"),
    ("scale 0", project(depth={"scale": 0}), "project.json", "greater than"),
    ("scale below 0", project(depth={"scale": -1}), "project.json", "greater than"),
    ("scale in words", project(depth={"scale": "0.001"}), "project.json", "valid number"),
    ("scale true", project(depth={"scale": True}), "project.json", "valid number"),
    ("scale without end", lambda: scaled(b"1e999"), "project.json", "less than"),
    ("scale missing", project(depth={"unit": "m"}), "project.json", "a PNG does not say"),
    ("unit empty", project(depth={"unit": " ", "scale": 1}), "project.json", "at least 1 character"),
    ("no attribute", project(attributes=[]), "project.json", "at least 1"),
    ("attribute twice", project(attributes=[SPECIES, SPECIES]), "project.json", "`species` is there twice"),
    ("attribute called image", project(attributes=[SPECIES | {"name": "Image"}]), "project.json", "names the image"),
    ("value twice", attributes(values=["koala", "panda", "Panda"]), "project.json", "`panda` is there twice"),
    ("one value", attributes(values=["koala"]), "project.json", "at least 2"),
    ("257 values", attributes(values=[str(n) for n in range(257)]), "project.json", "at most 256"),
    ("65 attributes", project(attributes=[SPECIES] * 65), "project.json", "at most 64"),
    ("swap of no value", attributes(mirror=[["koala", "bear"]]), "project.json", "`bear` is no value of `species`"),
    ("swap twice", attributes(mirror=[["koala", "panda"], ["panda", "koala"]]), "project.json", "swaps with one other"),
    ("kinds disagree", project(label_kinds=["segmentation", "depth"]), "project.json", "it says segmentation, depth"),
    ("no labels", lambda: unlabeled(), "project.json", "the project has no labels"),
    ("no word of depth", project(depth=None), "project.json", "does not mention depth"),
]  # fmt: skip

KEYPOINTS: list[tuple[str, Make, str, str]] = [
    ("no file", without(JSON), JSON, "it is missing"),
    ("two files", lambda: labeled_files() | {CSV: keypoint_csv().encode()}, CSV, "keypoints.json is there, too"),
    ("not JSON", raw_json(b"{"), JSON, "not JSON"),
    ("empty JSON", raw_json(b""), JSON, "not JSON"),
    ("a list", raw_json(b"[]"), JSON, "not a JSON object"),
    ("NaN", as_json(flat((0, float("nan")))), JSON, "NaN is not a number"),
    ("nested deep", raw_json(b'{"images":' + b"[" * 50_000), JSON, "nested too deep"),
    ("large", raw_json(LARGE), JSON, "larger than 4194304 bytes"),
    ("latin-1", raw_json(b'{"images": "\xe9"}'), JSON, "not JSON"),
    ("no images", as_json(lambda c: c.pop("images")), JSON, "`images` is missing"),
    ("annotations an object", as_json(lambda c: c.update(annotations={})), JSON, "`annotations` is not a list"),
    ("annotations of numbers", as_json(lambda c: c.update(annotations=[1])), JSON, "not a list of objects"),
    ("no categories", as_json(lambda c: c.update(categories=[])), JSON, "no categories have `keypoints`"),
    ("two categories", as_json(lambda c: c.update(categories=c["categories"] * 2)), JSON, "2 categories have"),
    ("names are numbers", as_json(put("categories", 0, keypoints=[1, 2, 3])), JSON, "not a list of names"),
    ("a point too many", as_json(put("categories", 0, keypoints=[*POINTS, "tail"])), JSON, "not have the points tail"),
    ("a point too few", as_json(put("categories", 0, keypoints=POINTS[:2], skeleton=[])), JSON, "lacks the points"),
    ("a point twice", as_json(put("categories", 0, keypoints=["nose", *POINTS])), JSON, "`nose` is there twice"),
    ("skeleton from 0", as_json(put("categories", 0, skeleton=[[0, 1]])), JSON, "not a list of pairs of places"),
    ("skeleton too far", as_json(put("categories", 0, skeleton=[[1, 4]])), JSON, "not a list of pairs of places"),
    ("skeleton true", as_json(put("categories", 0, skeleton=[[True, 2]])), JSON, "not a list of pairs of places"),
    ("image id twice", as_json(put("images", 1, id=0)), JSON, "`id` of image 1 is there twice"),
    ("image id a list", as_json(put("images", 1, id=[1])), JSON, "`id` of image 1 is not a number"),
    ("image twice", as_json(put("images", 1, file_name="bear00.png")), JSON, "bear00 is there twice"),
    ("unknown image", as_json(put("images", 1, file_name="dog.png")), JSON, "'dog.png', and no image is called so"),
    ("no file name", as_json(put("images", 1, file_name=None)), JSON, "no image is called so"),
    ("other size", as_json(put("images", 0, width=128)), JSON, "bear00 is 128 x 64 pixels, and the image is 64 x 64"),
    ("width alone", as_json(put("images", 0, height=None)), JSON, "not two numbers of pixels"),
    ("no annotation", as_json(lambda c: c["annotations"].pop()), JSON, "no annotation of bear01"),
    ("two annotations", as_json(put("annotations", 1, image_id=0)), JSON, "bear00 has more than one annotation"),
    ("annotation of nothing", as_json(put("annotations", 1, image_id=7)), JSON, "id of no image"),
    ("annotation of a list", as_json(put("annotations", 1, image_id=[1])), JSON, "id of no image"),
    ("other category", as_json(put("annotations", 0, category_id=2)), JSON, "another category's"),
    ("two numbers a point", as_json(put("annotations", 0, keypoints=[1] * 6)), JSON, "6 numbers, where 3 points"),
    ("no numbers", as_json(put("annotations", 0, keypoints=None)), JSON, "no list, where 3 points take 9"),
    ("visibility 3", as_json(flat((2, 3))), JSON, "visibility of left_ear is not 0, 1 or 2"),
    ("visibility 1.5", as_json(flat((2, 1.5))), JSON, "visibility of left_ear"),
    ("visibility true", as_json(flat((2, True))), JSON, "visibility of left_ear"),
    ("x in words", as_json(flat((3, "50"))), JSON, "the place of right_ear is not two numbers"),
    ("x null", as_json(flat((0, None))), JSON, "the place of left_ear"),
    ("x a huge number", as_json(flat((0, 10**400))), JSON, "the place of left_ear"),
    ("x without end", raw_json(json.dumps(coco()).replace("10.5", "1e999").encode()), JSON, "the place of left_ear"),
    ("far left", as_json(flat((0, -1.5))), JSON, "left_ear of bear00 lies at (-1.5, 8.25), outside its"),
    ("far below", as_json(flat((7, 66), (8, 1))), JSON, "nose of bear00 lies at (31.125, 66)"),
    ("never seen", as_json(lambda c: [flat((2, 0), of=n)(c) for n in (0, 1)]), JSON, "no seed has `left_ear`"),
    ("CSV of no schema", raw_csv(keypoint_csv().encode(), keypoints=None), CSV, "does not say which points there are"),
    ("CSV empty", raw_csv(b""), CSV, "it is empty"),
    ("CSV of header only", raw_csv(HEADER), CSV, "bear00 has no row for left_ear, right_ear, nose"),
    ("CSV in UTF-16", raw_csv(keypoint_csv().encode("utf-16")), CSV, "not UTF-8"),
    ("CSV with semicolons", raw_csv(keypoint_csv().replace(",", ";").encode()), CSV, "its columns are image;point"),
    ("CSV without header", as_csv("image,point,x,y,visibility\r\n", ""), CSV, "its columns are bear00"),
    ("CSV with a column twice", as_csv("point,x,y", "point,x,x"), CSV, "column `x` is there twice"),
    ("CSV with a row short", as_csv("50,9,1", "50,9"), CSV, "line 3 has 4 cells, the header has 5"),
    ("CSV with a quote open", as_csv("50,9,1", '"50,9,1'), CSV, "is not CSV"),
    ("CSV with text after a quote", as_csv("50,9,1", '"50"x,9,1'), CSV, "line 3 is not CSV"),
    ("CSV unknown image", as_csv("bear01,nose", "dog,nose"), CSV, "line 7: no image is called 'dog'"),
    ("CSV unknown point", as_csv("bear01,nose", "bear01,tail"), CSV, "line 7: no point is called 'tail'"),
    ("CSV a row missing", as_csv("bear01,nose,31.125,30,2\r\n", ""), CSV, "bear01 has no row for nose"),
    ("CSV a row twice", as_csv("bear01,nose", "bear00,nose"), CSV, "line 7: bear00 has nose twice"),
    ("CSV visibility 3", as_csv("50,9,1", "50,9,3"), CSV, "line 3: the visibility is '3'"),
    ("CSV visibility empty", as_csv("50,9,1", "50,9,"), CSV, "line 3: the visibility is ''"),
    ("CSV x empty", as_csv("50,9,1", ",9,1"), CSV, "line 3: x is ''"),
    ("CSV x nan", as_csv("50,9,1", "nan,9,1"), CSV, "line 3: x is 'nan'"),
    ("CSV y infinite", as_csv("50,9,1", "50,1e999,1"), CSV, "line 3: y is '1e999'"),
    ("CSV x of Python", as_csv("50,9,1", "5_0,9,1"), CSV, "line 3: x is '5_0'"),
    ("CSV outside", as_csv("50,9,1", "65.5,9,1"), CSV, "right_ear of bear00 lies at (65.5, 9)"),
    ("CSV of many rows", raw_csv(HEADER + MANY_ROWS), CSV, "more than 20000 rows"),
    ("CSV of many faults", raw_csv(HEADER + b"a,b,1,1,1\n" * 500), CSV, "more faults of this file"),
]  # fmt: skip

DEPTHS: list[tuple[str, Make, str, str]] = [
    ("none for an image", without(DEPTH), "images/bear00.png", "it has no depth"),
    ("none at all", without(DEPTH, "depth/bear01.png"), "images/bear01.png", "it has no depth"),
    ("no image", lambda: labeled_files() | {"depth/dog.png": UNKNOWN}, "depth/dog.png", "it has no image"),
    ("both forms", lambda: labeled_files() | {NPY: npy(FLOAT)}, None, "same NAME"),
    ("another form", lambda: labeled_files() | {"depth/bear00.tif": b""}, "depth/bear00.tif", "nor labels"),
    ("8 bits", depth(EIGHT_BITS), DEPTH, "of 8 bits, and depth is greyscale of 16 bits"),
    ("colour", depth(image_bytes()), DEPTH, "depth is greyscale"),
    ("JPEG", depth(image_bytes(mode="L", kind="JPEG")), DEPTH, "not a whole PNG"),
    ("text", depth(b"1 2 3"), DEPTH, "not a whole PNG"),
    ("cut off", depth(png(Image.fromarray(depth_steps()))[:-30]), DEPTH, "not a whole PNG"),
    ("other size", depth(png(Image.fromarray(depth_steps((32, 64))))), DEPTH, "is 32 x 64 pixels, its image is 64"),
    ("too many pixels", depth(png(Image.fromarray(np.ones((1000, 1001), np.uint16)))), DEPTH, "more than 1000000"),
    ("nothing known", depth(UNKNOWN), DEPTH, "no depth is known"),
    ("text as NPY", array(b"hello"), NPY, "not a whole NPY file"),
    ("empty NPY", array(b""), NPY, "not a whole NPY file"),
    ("NPZ", array(b"PK\x03\x04" + bytes(100)), NPY, "not a whole NPY file"),
    ("NPY of version 3", array(header(DESCR % ("<f4", "(64, 64)"), b"\x03\x00")), NPY, "NPY of version 3.0"),
    ("NPY cut off", array(npy(FLOAT)[:-1]), NPY, "length is not what its header says"),
    ("NPY with more", array(npy(FLOAT) + b"x"), NPY, "length is not what its header says"),
    ("NPY of objects", array(np.full((64, 64), None)), NPY, "its numbers are object"),
    ("NPY of a pickle", array(header(DESCR % ("|O", "(64, 64)"))), NPY, "its numbers are object"),
    ("NPY of text", array(np.full((64, 64), "a")), NPY, "its numbers are <U1"),
    ("NPY of complex", array(FLOAT.astype(np.complex64)), NPY, "its numbers are complex64"),
    ("NPY of bool", array(FLOAT > 1), NPY, "its numbers are bool"),
    ("NPY of records", array(np.zeros((64, 64), [("a", "f4")])), NPY, "its numbers are"),
    ("NPY of 3 axes", array(FLOAT[..., None]), NPY, "its shape is (64, 64, 1)"),
    ("NPY of 1 axis", array(FLOAT.ravel()), NPY, "its shape is (4096,)"),
    ("NPY of no pixels", array(FLOAT[:0]), NPY, "its shape is (0, 64)"),
    ("NPY below 0", array(header(DESCR % ("<f4", "(-64, -64)"))), NPY, "its shape is (-64, -64)"),
    ("NPY bomb", array(header(DESCR % ("<f8", "(1000000000, 1000000000)"))), NPY, "more than 1000000"),
    ("NPY of a long header", array(header(" " * 20_000 + "{}", b"\x02\x00")), NPY, "not a whole NPY"),
    ("NPY that calls", array(header("__import__('os').system('true')")), NPY, "not a whole NPY"),
    ("NPY nested deep", array(header("(" * 5000 + ")" * 5000)), NPY, "not a whole NPY"),
    ("NPY of other size", array(FLOAT[:32]), NPY, "the depth is 64 x 32 pixels"),
    ("NPY of nothing known", array(np.where(FLOAT > 0, np.nan, FLOAT)), NPY, "no depth is known"),
    ("NPY of 0 and less", array(-np.eye(64)), NPY, "no depth is known"),
    ("NPY too large for a float", array(np.full((64, 64), 1e300)), NPY, "its depths run from 1e+300"),
    ("scale too small", array(FLOAT * 100), NPY, "its depth reaches 250, and 65535 steps of 0.001 reach 65.535"),
    ("scale too coarse", array(FLOAT, scale=1), NPY, "steps of 1 are too coarse"),
]  # fmt: skip

ATTRIBUTES: list[tuple[str, Make, str, str]] = [
    ("no file", without(CLASSES), CLASSES, "it is missing"),
    ("empty", raw_classes(b""), CLASSES, "it is empty"),
    ("latin-1", raw_classes(b"image,esp\xe8ce\n"), CLASSES, "not UTF-8"),
    ("large", raw_classes(LARGE), CLASSES, "larger than 1048576 bytes"),
    ("no column image", classes("image", "file"), CLASSES, "`image` and attributes are wanted"),
    ("image alone", raw_classes(b"image\nbear00\nbear01\n"), CLASSES, "`image` and attributes are wanted"),
    ("a column too many", raw_classes(b"image,species,looks,age\n"), CLASSES, "it has the columns age"),
    ("a column too few", raw_classes(b"image,species\n"), CLASSES, "it lacks the columns looks"),
    ("a column twice", classes("looks", "species"), CLASSES, "`species` is there twice"),
    ("unknown value", classes("panda", "grizzly"), CLASSES, "line 3: species has no value 'grizzly'"),
    ("other case", classes("panda", "Panda"), CLASSES, "species has no value 'Panda'"),
    ("unknown image", classes("bear01", "dog"), CLASSES, "line 3: no image is called 'dog'"),
    ("image twice", classes("bear01", "bear00.png"), CLASSES, "line 3: bear00 is there twice"),
    ("image missing", classes("bear01,panda,left\n", ""), CLASSES, "no row for bear01"),
    ("row too long", classes("panda,left", "panda,left,"), CLASSES, "line 3 has 4 cells, the header has 3"),
    ("quote open", classes("panda", '"panda'), CLASSES, "is not CSV"),
    ("column without values", raw_classes(b"image,species,looks\nbear00,koala,\nbear01,,\n"), CLASSES, "of looks"),
    ("one value only", classes("panda", "koala", attributes=None), CLASSES, "column `species`: List should"),
    ("column without name", classes("looks", "", attributes=None), CLASSES, "at least 1 character"),
    ("value of many letters", classes("panda", "p" * 65, attributes=None), CLASSES, "at most 64"),
    ("values alike", classes("panda", "KOALA", attributes=None), CLASSES, "is there twice"),
    ("control characters", classes("panda", "pan\x07da", attributes=None), CLASSES, "control characters"),
]  # fmt: skip


def scaled(scale: bytes) -> Files:
    files = labeled_files()
    return files | {"project.json": files["project.json"].replace(b"0.001", scale)}


def unlabeled() -> Files:
    return {"project.json": b'{"name": "a", "generator": "toy"}', "images/bear00.png": image_bytes()}


@pytest.mark.parametrize(
    ("make", "file", "message"),
    [
        pytest.param(*case[1:], id=f"{part}-{case[0]}")
        for part, cases in (("project", PROJECTS), ("keypoints", KEYPOINTS), ("depth", DEPTHS), ("class", ATTRIBUTES))
        for case in cases
    ],
)
def test_bad_labels_are_refused(
    api: httpx.Client, api_store: FileStore, make: Make, file: str | None, message: str
) -> None:
    errors = assert_refused(post_zip(api, zipped(make())), api_store, file, message)
    assert all(error["remedy"] for error in errors), errors
    assert all(error["file"] or error["field"] for error in errors), errors
    assert len(errors) <= 110


def test_every_fault_of_every_kind_is_told_at_once(api: httpx.Client, api_store: FileStore) -> None:
    files = labeled_files(3, attributes=[SPECIES]) | {
        DEPTH: EIGHT_BITS,
        "segmentation/bear01.png": b"junk",
        "depth/bear02.npy": npy(FLOAT[:9]),
        CLASSES: b"image,species\nbear00,panda\nbear01,cat\nbear02,koala\n",
        JSON: json.dumps(coco(3, [[-9, 1, 2], *PLACES[1:]])).encode(),
    }
    del files["depth/bear02.png"]
    errors = assert_refused(post_files(api, files), api_store, CLASSES, "no value 'cat'")
    assert [error["file"] for error in errors] == [
        CLASSES,
        DEPTH,
        "depth/bear02.npy",
        *[JSON] * 3,
        "segmentation/bear01.png",
    ]


def test_labels_of_an_invalid_project_are_checked_as_far_as_can_be(api: httpx.Client, api_store: FileStore) -> None:
    for keypoints in ({JSON: b"{"}, {CSV: b"\xff"}):
        files = without(JSON, generator="dogs", name=7)() | {DEPTH: b"", CLASSES: b"\xff"} | keypoints
        errors = assert_refused(post_files(api, files), api_store, "project.json", "valid string")
        assert {DEPTH, CLASSES, *keypoints, "project.json"} == {error["file"] for error in errors}


@pytest.mark.parametrize("table", [JSON, CSV])
def test_keypoints_are_those_of_the_image_as_shown(api: httpx.Client, api_store: FileStore, table: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    fields = {"name": "a", "generator": "toy", "keypoints": {"points": POINTS}}
    files = {
        "project.json": json.dumps(fields).encode(),
        "images/bear00.png": image_bytes((100, 50), exif=exif),
    }
    lying = [[90, 10, 2], [10, 90, 2], [20, 20, 2]]
    content = coco(1, lying)
    content["images"][0] |= {"width": 50, "height": 100}
    files[table] = json.dumps(content).encode() if table == JSON else keypoint_csv(1, lying).encode()
    assert_refused(
        post_files(api, files), api_store, table, "left_ear of bear00 lies at (90, 10), outside its image of 50"
    )


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> TestClient:
    """The application in this process, quick enough for many requests; a fault in it would be raised here."""
    folder = tmp_path_factory.mktemp("garbage")
    store = FileStore(folder)
    store.put(GeneratorRecord.key("toy"), make_generator().model_dump_json().encode())
    return TestClient(create_app(Settings(store_url=f"file://{folder}", redis_url=redis_url)))


garbage = st.one_of(
    st.binary(max_size=300),
    st.text(alphabet=',;"\n\r\0 abx0123456789.-e\ufeff\ud7ff', max_size=300).map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["images", "annotations", "categories", "keypoints", "id"]), inner)
        ),
        max_leaves=20,
    ).map(lambda value: json.dumps(value).encode()),
)


@given(file=st.sampled_from([JSON, CSV, CLASSES, "project.json", DEPTH, NPY]), data=garbage)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_is_a_complaint(local: TestClient, file: str, data: bytes) -> None:
    dropped = {CSV: [JSON], NPY: [DEPTH]}.get(file, [])
    answer = post_files(local, without(*dropped)() | {file: data})
    assert answer.status_code in (422, 400), answer.text
    if answer.status_code == 422:
        assert any(error["file"] == file for error in answer.json()["errors"]), answer.text


@given(
    part=st.sampled_from(["images", "annotations", "categories"]),
    key=st.sampled_from(["id", "file_name", "width", "height", "image_id", "category_id", "keypoints", "skeleton"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=9,
    ),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_strange_values_in_coco_are_taken_or_told(local: TestClient, part: str, key: str, value: Any) -> None:
    content = coco(1)
    content[part][0][key] = value
    project = {"name": "a", "generator": "toy", "keypoints": {"points": POINTS}}
    files = {"project.json": project, JSON: content}
    files = {path: json.dumps(data).encode() for path, data in files.items()} | {"images/bear00.png": image_bytes()}
    answer = post_files(local, files)
    assert answer.status_code in (201, 422), answer.text
    told = {error["file"] for error in answer.json().get("errors", [])}
    assert told <= {JSON}


@given(change=st.tuples(st.integers(0, 140), st.binary(min_size=1, max_size=4)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_spoiled_header_of_an_array_is_told(local: TestClient, change: tuple[int, bytes]) -> None:
    data = io.BytesIO(npy(FLOAT))
    data.seek(change[0])
    data.write(change[1])
    answer = post_files(local, without(DEPTH)() | {NPY: data.getvalue()})
    assert answer.status_code in (201, 422), answer.text
    assert re.fullmatch(r"(depth/bear00\.npy)?", "".join({e["file"] for e in answer.json().get("errors", [])}))
