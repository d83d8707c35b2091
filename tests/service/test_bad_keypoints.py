"""Every fault of `keypoints.json` and `keypoints.csv` gets a clear answer, and leaves nothing behind."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image

from service.stores import FileStore
from tests.service.spoiled_labels import CSV, JSON, LARGE, Fault, Files, Make, assert_told, each, without
from tests.service.uploads import (
    POINTS,
    assert_refused,
    coco,
    image_bytes,
    keypoint_csv,
    labeled_files,
    post_files,
)

HEADER = b"image,point,x,y,visibility\n"
MANY_ROWS = b"".join(b"%d,nose,1,1,1\n" % number for number in range(20_001))


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


def put(part: str, index: int, **fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content[part][index].update(fields)


def flat(*changes: tuple[int, Any], of: int = 0) -> Callable[[dict[str, Any]], Any]:
    """Change numbers of an annotation."""

    def change(content: dict[str, Any]) -> None:
        for place, value in changes:
            content["annotations"][of]["keypoints"][place] = value

    return change


FAULTS: list[Fault] = [
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


@each(FAULTS)
def test_bad_keypoints_are_refused(
    api: httpx.Client, api_store: FileStore, make: Make, file: str | None, message: str
) -> None:
    assert_told(api, api_store, make, file, message)


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
