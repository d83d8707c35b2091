"""Seeds in every format, read by its library: their own images, exactly their labels, marked, and in `train` alone."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
import yaml
from datasets import load_dataset
from PIL import Image
from pycocotools.coco import COCO
from torchvision.datasets import VOCDetection, VOCSegmentation

from service.requests import DatasetFormat
from tests.workers.formats.test_yolo import filled, label_path
from tests.workers.packing import CLASSES, SIDE, PackingWorld
from tests.workers.seeded import ATTRIBUTES, SIZES, STEMS, Expected, expected, packed
from workers.split import part_of

COUNT = 14
SPLIT = {"train": 0.5, "val": 0.5}
SEEDS = range(COUNT, COUNT + len(SIZES))
"""Their indices."""


def unpacked(world: PackingWorld, tmp_path: Path, layout: str, **wanted: object) -> Path:
    job = packed(world, formats=[layout], **({"split": SPLIT} | wanted))
    return world.unpacked(job, layout, tmp_path / layout)


def read(path: Path | bytes) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
    with Image.open(path if isinstance(path, Path) else io.BytesIO(path)) as picture:
        return np.asarray(picture)


def check_facts(row: dict[str, Any], number: int) -> None:
    assert (row["origin"], row["source"], row["version"], row["uncertainty"]) == ("seed", number, 0, 0)
    assert row["attributes"] == expected()[number].attributes


def check_points(points: list[list[float]], seed: Expected) -> None:
    assert [tuple(point) for point in points] == seed.points


def test_png(packing_world: PackingWorld, tmp_path: Path) -> None:
    folder = unpacked(packing_world, tmp_path, "png")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(COUNT + len(SIZES)))
    assert {row["origin"] for row in rows[:COUNT]} == {"generated"}
    for number, (row, seed) in enumerate(zip(rows[COUNT:], expected(), strict=True)):
        check_facts(row, number)
        assert (row["split"], row["file_name"]) == ("train", f"images/{STEMS[number]}.png")
        assert (read(folder / row["file_name"]) == seed.image).all()
        assert (read(folder / row["mask_file_name"]) == seed.mask).all()
        assert (read(folder / row["depth_file_name"]) == seed.steps).all()
        check_points(row["keypoints"], seed)
        shares = np.bincount(seed.mask[seed.mask != 255], minlength=4) / (seed.mask != 255).sum()
        assert [*row["coverage"].values()] == pytest.approx(shares, abs=1e-6)
    facts = json.loads((folder / "dataset.json").read_text())
    assert (facts["count"], facts["included_seeds"], sum(facts["split"].values())) == (COUNT, list(SIZES), COUNT)


def test_coco(packing_world: PackingWorld, tmp_path: Path) -> None:
    folder = unpacked(packing_world, tmp_path, "coco")
    instances = COCO(str(folder / "annotations/instances_train.json"))
    polygons = COCO(str(folder / "annotations/polygons_train.json"))
    keypoints = COCO(str(folder / "annotations/keypoints_train.json"))
    marked = {entry["id"]: entry["origin"] for entry in instances.loadImgs(instances.getImgIds())}
    assert [index for index, origin in marked.items() if origin == "seed"] == list(SEEDS)
    assert set(marked) - set(SEEDS) == {i for i in range(COUNT) if part_of(i, None) == "train"} & set(marked)
    for number, seed in enumerate(expected()):
        [entry] = instances.loadImgs([SEEDS[number]])
        check_facts(entry, number)
        assert entry["file_name"] == f"{STEMS[number]}.png"
        assert (read(folder / "images/train" / entry["file_name"]) == seed.image).all()
        assert (read(folder / "depth/train" / entry["depth_file_name"]) == seed.steps).all()
        for coco in (instances, polygons):
            mask = np.zeros((SIDE, SIDE), np.uint8)
            for row in coco.loadAnns(coco.getAnnIds(entry["id"])):
                mask[coco.annToMask(row).astype(bool)] = coco.cats[row["category_id"]]["mask_value"]
            assert (mask == np.where(seed.mask == 255, 0, seed.mask)).all()
        [row] = keypoints.loadAnns(keypoints.getAnnIds(entry["id"]))
        check_points(np.array(row["keypoints"], object).reshape(-1, 3).tolist(), seed)
    for kind in ("instances", "keypoints"):
        ids = [row["id"] for row in json.loads((folder / f"annotations/{kind}_train.json").read_text())["annotations"]]
        assert len(set(ids)) == len(ids)
        assert "seed_" not in (folder / f"annotations/{kind}_val.json").read_text()


def test_yolo(packing_world: PackingWorld, tmp_path: Path) -> None:
    folder = unpacked(packing_world, tmp_path, "yolo")
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert sorted(path.stem for path in (folder / data["train"]).glob("seed_*")) == STEMS
    assert not list((folder / data["val"]).glob("seed_*"))
    for stem, seed in zip(STEMS, expected(), strict=True):
        path = folder / data["train"] / f"{stem}.png"
        assert (read(path) == seed.image).all()
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for line in label_path(path).read_text().splitlines():
            number, *shares = line.split()
            mask[filled(np.array(shares, np.float64).reshape(-1, 2) * SIDE)] = int(number) + 1
        assert (mask == np.where(seed.mask == 255, 0, seed.mask)).all()
        numbers = [float(word) for word in (folder / f"labels-pose/train/{stem}.txt").read_text().split()]
        places = np.array(numbers[5:]).reshape(-1, 3)
        assert np.abs(places[:, :2] * SIDE - np.array(seed.points)[:, :2]).max() < 1e-4
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows[COUNT:]):
        check_facts(row, number)


def test_voc(packing_world: PackingWorld, tmp_path: Path) -> None:
    folder = unpacked(packing_world, tmp_path, "voc")
    names = (folder / "VOCdevkit/VOC2007/ImageSets/Segmentation/train.txt").read_text().split()
    assert names[-len(STEMS) :] == STEMS
    assert "seed_" not in (folder / "VOCdevkit/VOC2007/ImageSets/Segmentation/val.txt").read_text()
    segmentation = VOCSegmentation(str(folder), year="2007", image_set="train")
    detection = VOCDetection(str(folder), year="2007", image_set="train")
    for place, seed in enumerate(expected(), start=len(names) - len(STEMS)):
        assert (np.asarray(segmentation[place][1]) == seed.mask).all()
        rows = detection[place][1]["annotation"]["object"]
        there = {entry.name for value, entry in enumerate(CLASSES) if value and value in seed.mask}
        assert {row["name"] for row in rows} == there


def test_huggingface(packing_world: PackingWorld, tmp_path: Path) -> None:
    folder = unpacked(packing_world, tmp_path, "huggingface")
    dataset = load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))
    assert set(dataset["validation"]["origin"]) == {"generated"}
    rows = dataset["train"].filter(lambda row: row["origin"] == "seed")
    assert rows["index"][:] == list(SEEDS)
    for number, (row, seed) in enumerate(zip(rows, expected(), strict=True)):
        check_facts(row, number)
        assert (np.asarray(row["image"]) == seed.image).all()
        assert (np.asarray(row["mask"]) == seed.mask).all()
        assert (np.asarray(row["depth"]) == seed.steps).all()
        check_points(row["keypoints"], seed)


def test_webdataset(packing_world: PackingWorld, tmp_path: Path) -> None:
    """Seeds have tars of their own; what loads all tars of `train` finds them, too."""
    folder = unpacked(packing_world, tmp_path, "webdataset")
    tars = sorted(folder.glob("*.tar"))
    assert [tar.name for tar in tars] == ["train-00000.tar", "train-seeds-00000.tar", "val-00000.tar"]
    rows = list(webdataset.WebDataset(str(tars[1]), shardshuffle=False))
    assert [row["__key__"] for row in rows] == STEMS
    for number, (row, seed) in enumerate(zip(rows, expected(), strict=True)):
        facts = json.loads(row["json"])
        assert (facts["origin"], facts["source"], facts["attributes"]) == ("seed", number, ATTRIBUTES[number])
        check_points(facts["keypoints"], seed)
        assert (read(row["image.png"]) == seed.image).all()
        assert (read(row["segmentation.png"]) == seed.mask).all()
        assert (read(row["depth.png"]) == seed.steps).all()
    others = list(webdataset.WebDataset([str(tars[0]), str(tars[2])], shardshuffle=False))
    assert {json.loads(row["json"])["origin"] for row in others} == {"generated"}
    assert len(others) == COUNT


@pytest.mark.parametrize("layout", list(DatasetFormat))
def test_train_holds_the_seeds_where_nothing_else_is_in_it(
    packing_world: PackingWorld, tmp_path: Path, layout: DatasetFormat
) -> None:
    split = {"train": 0, "val": 1}
    folder = unpacked(packing_world, tmp_path, layout, split=split, image_format="jpeg")
    found = {
        DatasetFormat.PNG: "images/{}.jpg",
        DatasetFormat.COCO: "images/train/{}.jpg",
        DatasetFormat.YOLO: "images/train/{}.jpg",
        DatasetFormat.VOC: "VOCdevkit/VOC2007/JPEGImages/{}.jpg",
        DatasetFormat.HUGGINGFACE: "train/images/{}.jpg",
    }
    if layout in found:
        for stem, seed in zip(STEMS, expected(), strict=True):
            with Image.open(folder / found[layout].format(stem)) as picture:
                assert (picture.format, picture.size) == ("JPEG", (SIDE, SIDE))
                assert np.abs(np.asarray(picture, np.float64) - seed.image).mean() < 12
    if layout is DatasetFormat.HUGGINGFACE:
        dataset = load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))
        assert {name: len(rows) for name, rows in dataset.items()} == {"train": len(SIZES), "validation": COUNT}
    if layout is DatasetFormat.COCO:
        assert len(COCO(str(folder / "annotations/instances_train.json")).imgs) == len(SIZES)
    if layout is DatasetFormat.VOC:
        assert len(VOCSegmentation(str(folder), year="2007", image_set="train")) == len(SIZES)
    if layout is DatasetFormat.YOLO:
        assert yaml.safe_load((folder / "data.yaml").read_text())["train"] == "images/train"
    if layout is DatasetFormat.WEBDATASET:
        assert [path.name for path in sorted(folder.glob("train-*"))] == ["train-seeds-00000.tar"]


def test_the_card_tells_of_them_and_counts_generated_images_alone(packing_world: PackingWorld, tmp_path: Path) -> None:
    folder = unpacked(packing_world, tmp_path, "png")
    card, facts = (folder / "README.md").read_text(), json.loads((folder / "dataset.json").read_text())
    for words in (
        "14 generated images with labels",
        "| included seeds | 3, beside these, in train |",
        "`train` holds the project's 3 seeds, also those that were left out of the\nfit",
        "such as half. Here that is to draw each seed 2 times as often as each generated image.",
        "1 of 3 seeds were left out of the fit",
    ):
        assert words in card
    assert facts["split"]["train"] == 7
    job = packed(packing_world, job_id="without", include_seeds=False)
    without = packing_world.unpacked(job, "png", tmp_path / "without")
    same = ("coverage", "keypoint_visibility", "depth_range", "attribute_counts", "uncertainty_histogram", "acceptance")
    plain = json.loads((without / "dataset.json").read_text())
    assert {name: facts[name] for name in same} == {name: plain[name] for name in same}
    assert plain["included_seeds"] == []
    assert "seed_0000" not in (without / "README.md").read_text()
