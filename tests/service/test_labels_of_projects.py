"""Good uploads of every kind of label, and what is stored of them, against closed forms."""

import io
import itertools
import json
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.stores import FileStore
from tests.service.uploads import (
    LABELED,
    PLACES,
    POINTS,
    POSE,
    SPECIES,
    classes_csv,
    coco,
    depth_steps,
    image_bytes,
    keypoint_csv,
    labeled_files,
    npy,
    png,
    post_zip,
    zipped,
)

FIELDS = {"segmentation": "classes", "keypoints": "keypoints", "depth": "depth", "class": "attributes"}
PATHS = {"segmentation": "segmentation/", "keypoints": "keypoints.json", "depth": "depth/", "class": "classes.csv"}


def created(api: httpx.Client, files: dict[str, bytes]) -> dict[str, Any]:
    answer = post_zip(api, zipped(files))
    assert answer.status_code == 201, answer.text
    project: dict[str, Any] = answer.json()
    return project


def stored(store: FileStore, project: dict[str, Any], seed: int, file: str) -> bytes:
    return store.read(f"projects/{project['id']}/seeds/{seed}/{file}")


def labels_of(store: FileStore, project: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    labels: dict[str, Any] = json.loads(stored(store, project, seed, "labels.json"))
    return labels


def depth_of(store: FileStore, project: dict[str, Any], seed: int = 0) -> np.ndarray:
    """float64, NaN where it is not known."""
    picture = Image.open(io.BytesIO(stored(store, project, seed, "depth.png")))
    assert (picture.mode, picture.size) == ("I;16", (64, 64))
    steps = np.asarray(picture).astype(float)
    return np.where(steps == 0, np.nan, steps * project["depth"]["scale"])


@pytest.mark.parametrize(
    "kinds", [kinds for count in range(1, 5) for kinds in itertools.combinations(FIELDS, count)], ids="+".join
)
def test_any_combination_of_kinds_is_a_project(api: httpx.Client, api_store: FileStore, kinds: tuple[str, ...]) -> None:
    fields = {"name", "generator", *(FIELDS[kind] for kind in kinds)}
    wanted = ("images/", *(PATHS[kind] for kind in kinds))
    files = {path: data for path, data in labeled_files().items() if path.startswith(wanted)}
    files["project.json"] = json.dumps({name: LABELED[name] for name in fields}).encode()
    project = created(api, files)
    assert project["label_kinds"] == list(kinds)
    assert [bool(project[FIELDS[kind]]) for kind in FIELDS] == [kind in kinds for kind in FIELDS]
    expected = {"image.png"} | {"segmentation.png"} & {f"{kind}.png" for kind in kinds}
    expected |= {"depth.png"} & {f"{kind}.png" for kind in kinds}
    expected |= {"labels.json"} if {"keypoints", "class"} & set(kinds) else set()
    keys = [row.key.split("/") for row in api_store.list(f"projects/{project['id']}/seeds/")]
    assert {key[-1] for key in keys if key[-2] == "0"} == expected == {key[-1] for key in keys if key[-2] == "1"}
    seed = project["seeds"][0]
    assert (seed["visible_points"] is None) == ("keypoints" not in kinds)
    assert (seed["known_depth"] is None) == ("depth" not in kinds)
    assert bool(seed["class_pixels"]) == ("segmentation" in kinds)
    assert bool(seed["attributes"]) == ("class" in kinds)


def test_all_of_it_is_told_and_stored(api: httpx.Client, api_store: FileStore) -> None:
    project = created(api, labeled_files(label_kinds=["class", "depth", "keypoints", "segmentation"]))
    steps = depth_steps()
    assert project["keypoints"] == {
        "points": [
            {"name": "left_ear", "mirror": "right_ear"},
            {"name": "right_ear", "mirror": "left_ear"},
            {"name": "nose", "mirror": None},
        ],
        "skeleton": [["left_ear", "nose"]],
    }
    assert project["attributes"] == [SPECIES | {"mirror": []}, POSE]
    assert project["depth"] == {"unit": "m", "scale": 0.001, "minimum": 1.0, "maximum": steps.max() / 1000}
    seed = project["seeds"][1]
    assert (seed["visible_points"], seed["known_depth"]) == (2, 63 / 64)
    assert seed["attributes"] == {"species": "panda", "looks": "left"}
    assert labels_of(api_store, project, 1) == {"keypoints": PLACES, "attributes": [1, 0]}
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored(api_store, project, 1, "depth.png")))), steps)
    assert api.get(f"/projects/{project['id']}").json() == project
    row = api.get("/projects").json()["projects"][0]
    assert (row["classes"], row["keypoints"], row["attributes"], row["seeds"]) == (3, 3, 2, 2)
    assert row["label_kinds"] == ["segmentation", "keypoints", "depth", "class"]


def test_coco_and_csv_give_the_same_project(api: httpx.Client, api_store: FileStore) -> None:
    one = created(api, labeled_files(3))
    files = labeled_files(3) | {"keypoints.csv": b"\xef\xbb\xbf" + keypoint_csv(3).encode()}
    del files["keypoints.json"]
    two = created(api, files)
    assert {**one, "id": 0, "created": 0, "links": 0} == {**two, "id": 0, "created": 0, "links": 0}
    assert labels_of(api_store, one, 2) == labels_of(api_store, two, 2)


def test_coco_may_name_the_points_in_another_order(api: httpx.Client, api_store: FileStore) -> None:
    content = coco()
    content["categories"] = [{"id": 9, "name": "no points"}, {"id": 1, "keypoints": POINTS[::-1], "skeleton": []}]
    flat = [value for row in PLACES[::-1] for value in row]
    for number, annotation in enumerate(content["annotations"]):
        annotation |= {"keypoints": flat, "bbox": [0, 0, 9, 9], "num_keypoints": 3}
        content["images"][number] |= {"file_name": f"images/bear{number:02d}.png", "id": f"id {number}", "license": 4}
        annotation["image_id"] = f"id {number}"
    project = created(api, labeled_files() | {"keypoints.json": json.dumps(content).encode()})
    assert labels_of(api_store, project)["keypoints"] == PLACES


def test_a_schema_may_come_from_the_files(api: httpx.Client, api_store: FileStore) -> None:
    table = b'image,"the, species",looks\r\nbear01.png,panda,left\r\n"bear00", koala ,right\r\n\r\n'
    project = created(api, labeled_files(keypoints=None, attributes=None) | {"classes.csv": table})
    assert project["keypoints"]["skeleton"] == [["left_ear", "nose"]]
    assert [point["mirror"] for point in project["keypoints"]["points"]] == ["right_ear", "left_ear", None]
    assert project["attributes"] == [
        {"name": "the, species", "values": ["koala", "panda"], "mirror": []},
        {"name": "looks", "values": ["left", "right"], "mirror": []},
    ]
    assert labels_of(api_store, project)["attributes"] == [0, 1]


def test_an_empty_cell_is_not_known(api: httpx.Client, api_store: FileStore) -> None:
    table = classes_csv().replace("panda", "").encode()
    project = created(api, labeled_files() | {"classes.csv": table})
    assert labels_of(api_store, project, 1)["attributes"] == [-1, 0]
    assert project["seeds"][1]["attributes"] == {"looks": "left"}


@pytest.mark.parametrize("table", ["keypoints.json", "keypoints.csv"])
def test_points_go_where_resizing_and_cropping_put_them(api: httpx.Client, api_store: FileStore, table: str) -> None:
    """An image of 200 × 100 becomes 128 × 64, of which 32 … 96 are kept: x' = 0.64 x - 32, y' = 0.64 y."""
    places = [[100.25, 50.5, 2], [51, 0.125, 1], [49, 50, 2]]
    content = coco(1, places)
    content["images"][0] |= {"width": 200, "height": 100}
    fields = {"name": "a", "generator": "toy", "keypoints": {"points": POINTS}}
    other = [[100, 50, 2], [75, 25, 2], [60, 50, 2]]
    data = json.dumps(content).encode() if table.endswith("json") else keypoint_csv(1, places).encode()
    if table.endswith("csv"):
        rows = [f"second,{name},{x},{y},{v}" for name, (x, y, v) in zip(POINTS, other, strict=True)]
        data += "\r\n".join(rows).encode()
    else:
        content["images"].append({"id": 7, "file_name": "second.jpg"})
        content["annotations"].append({"image_id": 7, "keypoints": np.ravel(other).tolist()})
        data = json.dumps(content).encode()
    files = {
        "project.json": json.dumps(fields).encode(),
        "images/bear00.png": image_bytes((200, 100)),
        "images/second.jpg": image_bytes((200, 100), kind="JPEG"),
        table: data,
    }
    project = created(api, files)
    fitted = labels_of(api_store, project)["keypoints"]
    assert fitted[0] == pytest.approx([0.64 * 100.25 - 32, 0.64 * 50.5, 2], abs=1e-12)
    assert fitted[1] == pytest.approx([0.64 * 51 - 32, 0.64 * 0.125, 1], abs=1e-12)
    assert fitted[2] == [0, 0, 0]
    assert project["seeds"][0]["notes"] == ["cropped away: nose"]
    assert project["seeds"][0]["visible_points"] == 1
    assert np.allclose(np.array(labels_of(api_store, project, 1)["keypoints"])[:, 0], [32, 16, 6.4])


def test_a_point_a_little_outside_is_moved_onto_the_border(api: httpx.Client, api_store: FileStore) -> None:
    places = [[-0.75, 64.5, 2], [65, 3, 1], [64, 64, 2]]
    project = created(api, labeled_files() | {"keypoints.json": json.dumps(coco(2, places)).encode()})
    fitted = np.array(labels_of(api_store, project)["keypoints"])
    assert fitted[:, :2] == pytest.approx(np.array([[0, 64], [64, 3], [64, 64]]), abs=1e-5)
    assert (fitted[:, :2].astype(np.float32) < 64).all()
    assert fitted[:, 2].tolist() == [2, 1, 2]


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f8", "uint8", "int32", ">u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_depth_of_arrays_is_kept_to_half_a_step(
    api: httpx.Client, api_store: FileStore, dtype: str, order: str
) -> None:
    ramp = np.asarray(np.add.outer(np.arange(64), 2 * np.arange(64)) * 0.9, dtype=dtype, order=order)  # type: ignore[call-overload]
    known = ramp.astype(float)
    if ramp.dtype.kind == "f":
        ramp[3, :4] = [np.nan, np.inf, -np.inf, -5]
        known[3, :4] = np.nan
    known[known <= 0] = np.nan
    files = labeled_files(depth={}) | {"depth/bear00.npy": npy(ramp), "depth/bear01.npy": npy(ramp / 2)}
    del files["depth/bear00.png"], files["depth/bear01.png"]
    project = created(api, files)
    scale = project["depth"]["scale"]
    exact = np.nanmax(known) / 65535
    assert exact <= scale <= exact * 1.001
    assert float(f"{scale:.3e}") == scale, "four digits"
    fitted = depth_of(api_store, project)
    assert np.array_equal(np.isnan(fitted), np.isnan(known))
    assert np.nanmax(np.abs(fitted - known)) <= scale * 0.501
    assert project["depth"]["minimum"] == pytest.approx(np.nanmin(known / 2), abs=scale)
    assert project["depth"]["maximum"] == pytest.approx(np.nanmax(known), abs=scale)
    assert project["depth"]["unit"] == "unit"


def test_depth_is_fitted_without_blending(api: httpx.Client, api_store: FileStore) -> None:
    """Of 200 × 100 pixels each one kept is the one that the fitted pixel's centre lies in."""
    steps = depth_steps((200, 100))
    files = {
        "project.json": json.dumps({"name": "a", "generator": "toy", "depth": {"scale": 0.01, "unit": "cm"}}).encode(),
        "images/wide.png": image_bytes((200, 100)),
        "depth/wide.PNG": png(Image.fromarray(steps)),
        "images/tall.png": image_bytes((50, 100)),
        "depth/tall.npy": npy(np.full((100, 50), 7.0)),
    }
    project = created(api, files)
    rows = ((np.arange(64) + 0.5) * 100 / 64).astype(int)
    columns = ((np.arange(32, 96) + 0.5) * 200 / 128).astype(int)
    stored_steps = np.asarray(Image.open(io.BytesIO(stored(api_store, project, 1, "depth.png"))))
    assert np.array_equal(stored_steps, steps[rows][:, columns])
    assert np.allclose(depth_of(api_store, project), 7)
    assert project["depth"]["unit"] == "cm"


def test_pixels_to_ignore_count_for_no_class(api: httpx.Client, api_store: FileStore) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:32] = 255
    mask[40] = 2
    files = labeled_files() | {"segmentation/bear00.png": png(Image.fromarray(mask))}
    project = created(api, files)
    assert project["seeds"][0]["class_pixels"] == {"background": 31 * 64, "bear": 0, "ears": 64}
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored(api_store, project, 0, "segmentation.png")))), mask)


def test_seeds_can_be_forced_and_classes_mirrored(api: httpx.Client) -> None:
    classes = [{"name": "back"}, {"name": "left", "mirror": "right"}, {"name": "right", "mirror": "left"}]
    project = created(api, labeled_files(3, forced_seeds=["bear02", "images/bear00.png"], classes=classes))
    assert [seed["forced"] for seed in project["seeds"]] == [True, False, True]
    assert [item["mirror"] for item in project["classes"]] == [None, "right", "left"]


def test_spaces_around_a_name_are_no_part_of_it(api: httpx.Client) -> None:
    classes = [{"name": "back"}, {"name": " left", "mirror": "right "}, {"name": "right", "mirror": "left "}]
    pose = POSE | {"mirror": [["left ", "right"]]}
    points = {"points": ["left_ear ", " right_ear", "nose"], "skeleton": [[" left_ear", "nose "]]}
    content = coco()
    content["categories"][0]["keypoints"] = [" left_ear", "right_ear", "nose "]
    told = {"keypoints.json": json.dumps(content).encode()}
    plain = created(api, labeled_files(classes=classes, attributes=[SPECIES, pose]))
    assert [item["mirror"] for item in plain["classes"]] == [None, "right", "left"]
    assert plain["attributes"][1] == POSE
    for said in (points, None):
        assert created(api, labeled_files(keypoints=said) | told)["keypoints"] == plain["keypoints"]


def test_labels_of_a_turned_image_are_those_of_the_image_as_shown(api: httpx.Client, api_store: FileStore) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    fields = {"name": "a", "generator": "toy", "keypoints": {"points": POINTS}, "depth": {"scale": 1}}
    steps = depth_steps((64, 128))
    shown = [[10.5, 40.25, 2], [50, 41, 1], [31.125, 62, 2]]
    content = coco(1, shown)
    content["images"][0]["height"] = 128
    files = {
        "project.json": json.dumps(fields).encode(),
        "images/bear00.png": image_bytes((128, 64), exif=exif),
        "depth/bear00.png": png(Image.fromarray(steps)),
        "keypoints.json": json.dumps(content).encode(),
    }
    project = created(api, files)
    assert labels_of(api_store, project)["keypoints"] == [[x, y - 32, v] for x, y, v in shown]
    assert np.array_equal(depth_of(api_store, project), steps[32:96])
