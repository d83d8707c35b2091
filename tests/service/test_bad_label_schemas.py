"""Every fault of what `project.json` says about labels gets a clear answer, and leaves nothing behind."""

from typing import Any

import httpx

from service.stores import FileStore
from tests.service.spoiled_labels import Fault, Files, Make, assert_told, each, project
from tests.service.uploads import LABELED, POINTS, SPECIES, image_bytes, labeled_files


def points(*, skeleton: Any = (), names: Any = POINTS) -> Make:
    return project(keypoints={"points": names, "skeleton": list(skeleton)})


def attributes(**changes: Any) -> Make:
    return project(attributes=[SPECIES | changes, LABELED["attributes"][1]])


FAULTS: list[Fault] = [
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
    ("attribute of paths", project(attributes=[SPECIES | {"name": "a_file_name"}]), "project.json", "for the path of"),
    ("value twice", attributes(values=["koala", "panda", "Panda"]), "project.json", "`panda` is there twice"),
    ("one value", attributes(values=["koala"]), "project.json", "at least 2"),
    ("257 values", attributes(values=[str(n) for n in range(257)]), "project.json", "at most 256"),
    ("65 attributes", project(attributes=[SPECIES] * 65), "project.json", "at most 64"),
    ("swap of no value", attributes(mirror=[["koala", "bear"]]), "project.json", "`bear` is no value of `species`"),
    ("swap twice", attributes(mirror=[["koala", "panda"], ["panda", "koala"]]), "project.json", "swaps with one other"),
    ("flip in words", project(flip="yes"), "project.json", "valid boolean"),
    ("kinds disagree", project(label_kinds=["segmentation", "depth"]), "project.json", "it says segmentation, depth"),
    ("no labels", lambda: unlabeled(), "project.json", "the project has no labels"),
    ("no word of depth", project(depth=None), "project.json", "does not mention depth"),
]  # fmt: skip


def scaled(scale: bytes) -> Files:
    files = labeled_files()
    return files | {"project.json": files["project.json"].replace(b"0.001", scale)}


def unlabeled() -> Files:
    return {"project.json": b'{"name": "a", "generator": "toy"}', "images/bear00.png": image_bytes()}


@each(FAULTS)
def test_bad_label_schemas_are_refused(
    api: httpx.Client, api_store: FileStore, make: Make, file: str | None, message: str
) -> None:
    assert_told(api, api_store, make, file, message)
