"""Faults of labels of several kinds are told together, and garbage in the place of any is a complaint."""

import io
import json
import re
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.records import GeneratorRecord
from service.settings import Settings
from service.stores import FileStore
from tests.service.jobs import make_generator
from tests.service.spoiled_labels import CLASSES, CSV, DEPTH, EIGHT_BITS, FLOAT, JSON, NPY, without
from tests.service.uploads import (
    PLACES,
    POINTS,
    SPECIES,
    assert_refused,
    coco,
    image_bytes,
    labeled_files,
    npy,
    post_files,
)


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
