"""Uploads for tests: good ones, and every way to spoil them."""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from PIL import Image

from service.stores import FileStore

CLASSES = [{"name": "background", "color": "#000000"}, {"name": "bear"}, {"name": "ears"}]
PROJECT: dict[str, Any] = {"name": "Bears", "generator": "toy", "classes": CLASSES}


POINTS = ["left_ear", "right_ear", "nose"]
PLACES = [[10.5, 8.25, 2], [50, 9, 1], [31.125, 30, 2]]
"""x, y and visibility of each point in every image of `labeled_files`."""
SPECIES = {"name": "species", "values": ["koala", "panda"]}
POSE = {"name": "looks", "values": ["left", "right", "ahead"], "mirror": [["left", "right"]]}
LABELED: dict[str, Any] = PROJECT | {
    "keypoints": {"points": POINTS, "skeleton": [["left_ear", "nose"]]},
    "depth": {"unit": "m", "scale": 0.001},
    "attributes": [SPECIES, POSE],
}


def image_bytes(size: tuple[int, int] = (64, 64), mode: str = "RGB", kind: str = "PNG", **options: Any) -> bytes:
    """An image of noise, `size` being width and height."""
    noise = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise, "RGBA").convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def mask_bytes(size: tuple[int, int] = (64, 64), values: int = 3, **places: Any) -> bytes:
    """A mask whose values run through 0…`values` - 1."""
    width, height = size
    array = (np.arange(width * height) % values).astype(np.uint8).reshape(height, width)
    return png(Image.fromarray(array), **places)


def png(image: Image.Image, **options: Any) -> bytes:
    """The image as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def good_files(count: int = 2) -> dict[str, bytes]:
    """A valid upload."""
    files = {"project.json": json.dumps(PROJECT).encode()}
    for number in range(count):
        files[f"images/bear{number:02d}.png"] = image_bytes()
        files[f"segmentation/bear{number:02d}.png"] = mask_bytes()
    return files


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def without_utf_8_flag(data: bytes) -> bytes:
    """The zip as programs write it that do not say in what letters its names are."""
    whole = bytearray(data)
    for mark, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        at = whole.find(mark)
        while at >= 0:
            whole[at + place] &= ~0x08
            at = whole.find(mark, at + 4)
    return bytes(whole)


def post_zip(api: httpx.Client, data: bytes, project: Mapping[str, Any] | None = None) -> httpx.Response:
    """Upload one zip."""
    fields = {"project": json.dumps(project)} if project is not None else {}
    return api.post("/projects", files={"archive": ("seeds.zip", data, "application/zip")}, data=fields)


def post_files(api: httpx.Client, files: Mapping[str, bytes]) -> httpx.Response:
    """Upload single files, `project.json` as the part `project`."""
    parts: list[tuple[str, tuple[str | None, bytes]]] = []
    if "project.json" in files:
        parts.append(("project", (None, files["project.json"])))
    parts += [("files", (path, data)) for path, data in files.items() if path != "project.json"]
    return api.post("/projects", files=parts)


def npy(array: np.ndarray, **options: Any) -> bytes:
    """The array as `numpy.save` writes it."""
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def depth_steps(size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """Steps of depth from 1000 on, in the first row unknown, `size` being width and height."""
    steps = (1000 + np.arange(size[0] * size[1]) * 15 % 60_000).astype(np.uint16).reshape(size[::-1])
    steps[0] = 0
    return steps


def coco(count: int = 2, places: Any = PLACES) -> dict[str, Any]:
    """A `keypoints.json` about `bear00`, `bear01`, …"""
    flat = [value for row in places for value in row]
    return {
        "images": [{"id": n, "file_name": f"bear{n:02d}.png", "width": 64, "height": 64} for n in range(count)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "keypoints": flat} for n in range(count)],
        "categories": [{"id": 1, "name": "bear", "keypoints": POINTS, "skeleton": [[1, 3]]}],
    }


def keypoint_csv(count: int = 2, places: Any = PLACES) -> str:
    """A `keypoints.csv` that says the same as `coco`."""
    rows = [
        f"bear{n:02d},{point},{x},{y},{v}"
        for n in range(count)
        for point, (x, y, v) in zip(POINTS, places, strict=True)
    ]
    return "\r\n".join(["image,point,x,y,visibility", *rows, ""])


def classes_csv(count: int = 2) -> str:
    """A `classes.csv` in which all is known."""
    rows = [f"bear{n:02d},{('koala,ahead', 'panda,left')[n % 2]}" for n in range(count)]
    return "\n".join(["image,species,looks", *rows, ""])


def labeled_files(count: int = 2, **project: Any) -> dict[str, bytes]:
    """A valid upload of all four label kinds; `project` changes fields of its `project.json`, None removes them."""
    fields = {name: value for name, value in (LABELED | project).items() if value is not None}
    files = good_files(count) | {
        "project.json": json.dumps(fields).encode(),
        "keypoints.json": json.dumps(coco(count)).encode(),
        "classes.csv": classes_csv(count).encode(),
    }
    for number in range(count):
        files[f"depth/bear{number:02d}.png"] = png(Image.fromarray(depth_steps()))
    return files


def assert_refused(answer: httpx.Response, store: FileStore, file: str | None, message: str) -> list[dict[str, Any]]:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "/problems/invalid-upload"
    told = [error for error in problem["errors"] if message in error["message"]]
    assert told, problem["errors"]
    assert file is None or file in {error.get("file") for error in told}
    assert [row.key for row in store.list()] == ["generators/toy/generator.json"]
    errors: list[dict[str, Any]] = problem["errors"]
    return errors
