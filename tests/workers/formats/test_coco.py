"""The `coco` format, read by pycocotools: masks exactly as they were, points where they were."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from service.label_schema import LabelClass, LabelSchema
from service.requests import DatasetFormat, GenerateRequest, Split
from tests.workers.packing import PROJECT, SCALE, PackingWorld
from workers.split import PARTS, part_of

SPLIT = Split(train=0.5, val=0.25, test=0.25)


@pytest.fixture
def folder(packing_world: PackingWorld, tmp_path: Path) -> Path:
    request = GenerateRequest(project_id=PROJECT, count=16, formats=[DatasetFormat.COCO], split=SPLIT)
    job, _ = packing_world.packed(request)
    return packing_world.unpacked(job, "coco", tmp_path / "coco")


def masks_of(path: Path, first_value: int) -> dict[int, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Class indices by image, put together from the annotations; 0 where there is none."""
    coco = COCO(str(path))
    found = {}
    for entry in coco.loadImgs(coco.getImgIds()):
        mask = np.zeros((entry["height"], entry["width"]), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(entry["id"])):
            covered = coco.annToMask(annotation).astype(bool)
            assert covered.sum() == annotation["area"]
            columns, rows = np.flatnonzero(covered.any(axis=0)), np.flatnonzero(covered.any(axis=1))
            box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
            assert annotation["bbox"] == box
            category = coco.cats[annotation["category_id"]]
            assert category["mask_value"] == category["id"] + first_value - 1
            mask[covered] = category["mask_value"]
        found[entry["id"]] = mask
    return found


@pytest.mark.parametrize("kind", ["instances", "polygons"])
def test_masks_come_back_exactly(packing_world: PackingWorld, tmp_path: Path, kind: str) -> None:
    request = GenerateRequest(project_id=PROJECT, count=16, formats=[DatasetFormat.COCO], split=SPLIT)
    job, drawn = packing_world.packed(request)
    folder = packing_world.unpacked(job, "coco", tmp_path / "coco")
    seen = []
    for part in PARTS:
        for index, mask in masks_of(folder / f"annotations/{kind}_{part}.json", first_value=1).items():
            expected = drawn[index].labels.mask
            assert expected is not None
            assert (mask == np.where(expected == 255, 0, expected)).all()
            assert part_of(index, SPLIT) == part
            seen.append(index)
    assert sorted(seen) == list(range(16))


def test_segmentations_are_of_the_sort_that_the_file_says(folder: Path) -> None:
    for kind, sort in (("instances", dict), ("polygons", list)):
        annotations = json.loads((folder / f"annotations/{kind}_train.json").read_text())["annotations"]
        assert annotations
        assert all(isinstance(row["segmentation"], sort) and row["iscrowd"] == 0 for row in annotations)


@pytest.mark.parametrize(("kind", "categories"), [("instances", 3), ("polygons", 3), ("keypoints", 1)])
def test_ids_of_annotations_follow_from_image_and_category(folder: Path, kind: str, categories: int) -> None:
    """No two of a dataset are the same, in whichever part, and none is 0, which pycocotools takes for no match."""
    seen = []
    for part in PARTS:
        for row in json.loads((folder / f"annotations/{kind}_{part}.json").read_text())["annotations"]:
            assert row["id"] == row["image_id"] * categories + row["category_id"]
            seen.append(row["id"])
    assert len(set(seen)) == len(seen) > 0
    assert min(seen) >= 1


def test_a_first_class_that_is_not_background_is_a_category(packing_world: PackingWorld, tmp_path: Path) -> None:
    names = ["sky", "disc", "left", "right"]
    schema = LabelSchema(classes=[LabelClass(name=name, color="#000000") for name in names])
    request = GenerateRequest(project_id=PROJECT, count=6, formats=[DatasetFormat.COCO])
    job, drawn = packing_world.packed(request, schema)
    folder = packing_world.unpacked(job, "coco", tmp_path / "coco")
    categories = COCO(str(folder / "annotations/instances_train.json")).cats
    assert {number: entry["name"] for number, entry in categories.items()} == dict(enumerate(names, start=1))
    for index, mask in masks_of(folder / "annotations/instances_train.json", first_value=0).items():
        expected = drawn[index].labels.mask
        assert expected is not None
        assert (mask == np.where(expected == 255, 0, expected)).all()


def test_points_come_back_with_their_skeleton(packing_world: PackingWorld, tmp_path: Path) -> None:
    request = GenerateRequest(project_id=PROJECT, count=10, formats=[DatasetFormat.COCO])
    job, drawn = packing_world.packed(request)
    folder = packing_world.unpacked(job, "coco", tmp_path / "coco")
    coco = COCO(str(folder / "annotations/keypoints_train.json"))
    [category] = coco.loadCats(coco.getCatIds())
    assert category["keypoints"] == ["middle", "left end", "right end"]
    assert category["skeleton"] == [[1, 2], [1, 3]]
    for index, entry in enumerate(drawn):
        points = entry.labels.keypoints
        annotations = coco.loadAnns(coco.getAnnIds(index))
        assert points is not None
        assert len(annotations) == (1 if points[:, 2].any() else 0)
        for annotation in annotations:
            found = np.array(annotation["keypoints"], np.float32).reshape(-1, 3)
            assert (found == points).all()
            assert annotation["num_keypoints"] == (points[:, 2] > 0).sum()
            left, top, width, height = annotation["bbox"]
            inside = points[points[:, 2] > 0]
            assert ((inside[:, 0] >= left) & (inside[:, 0] <= left + width)).all()
            assert ((inside[:, 1] >= top) & (inside[:, 1] <= top + height)).all()


def test_images_carry_attributes_and_depth(packing_world: PackingWorld, tmp_path: Path) -> None:
    request = GenerateRequest(project_id=PROJECT, count=4, formats=[DatasetFormat.COCO])
    job, drawn = packing_world.packed(request)
    folder = packing_world.unpacked(job, "coco", tmp_path / "coco")
    images = COCO(str(folder / "annotations/instances_train.json")).imgs
    assert images[1]["attributes"] == {"size": "large", "tone": "light"}
    assert (np.asarray(Image.open(folder / "images/train" / images[1]["file_name"])) == drawn[1].image).all()
    steps = np.asarray(Image.open(folder / "depth/train" / images[1]["depth_file_name"]))
    assert drawn[1].labels.depth is not None
    assert np.nanmax(np.abs(np.where(steps == 0, np.nan, steps * SCALE) - drawn[1].labels.depth)) < 0.51 * SCALE
