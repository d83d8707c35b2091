"""The `yolo` format, read by the rules of its documentation and by nothing of ours."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from PIL import Image, ImageDraw

from service.label_schema import Keypoint, KeypointSchema, LabelClass, LabelSchema
from service.requests import DatasetFormat, GenerateRequest, Split
from tests.workers.packing import EVERY_KIND, PROJECT, SIDE, PackingWorld
from workers.formats.yolo import YOLO

SPLIT = Split(train=0.5, val=0.5)
FINE = 48
"""How finely outlines are drawn: a pixel becomes this many squared."""


def unpacked(world: PackingWorld, tmp_path: Path, schema: LabelSchema = EVERY_KIND) -> Path:
    request = GenerateRequest(project_id=PROJECT, count=15, formats=[DatasetFormat.YOLO], split=SPLIT)
    job, _ = world.packed(request, schema)
    return world.unpacked(job, "yolo", tmp_path / "yolo")


def label_path(image: Path) -> Path:
    """As documented: the last `images` of a path becomes `labels`, and the suffix `txt`."""
    before, _, behind = str(image).rpartition("/images/")
    return Path(f"{before}/labels/{behind}").with_suffix(".txt")


def filled(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """The pixels whose middles an outline encloses by the even-odd rule, (SIDE, SIDE)."""
    x, y = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
    inside = np.zeros((SIDE, SIDE), bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (y1 > y) != (y2 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


def test_outlines_enclose_the_pixels_of_their_classes(packing_world: PackingWorld, tmp_path: Path) -> None:
    request = GenerateRequest(project_id=PROJECT, count=15, formats=[DatasetFormat.YOLO], split=SPLIT)
    job, drawn = packing_world.packed(request)
    folder = packing_world.unpacked(job, "yolo", tmp_path / "yolo")
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert data["names"] == {0: "disc, red", 1: "bar: left", 2: "bar: right"}
    seen = 0
    for part in ("train", "val"):
        for path in sorted((folder / data[part]).iterdir()):
            mask = drawn[int(path.stem)].labels.mask
            assert mask is not None
            found = np.zeros_like(mask)
            for line in label_path(path).read_text().splitlines():
                number, *shares = line.split()
                corners = np.array(shares, np.float64).reshape(-1, 2)
                assert (corners >= 0).all()
                assert (corners <= 1).all()
                region = filled(corners * SIDE)
                assert region.sum() >= 4
                assert (mask[region] == int(number) + 1).all()
                found[region] = int(number) + 1
            left_out = (mask != 255) & (mask != found)
            assert left_out.sum() == (mask[10, 20] == 3)  # the one pixel that stands alone
            seen += 1
    assert seen == 15


def test_an_image_without_a_region_has_an_empty_file(packing_world: PackingWorld, tmp_path: Path) -> None:
    folder = unpacked(packing_world, tmp_path)
    assert [path.name for path in folder.glob("labels/*/000000004.txt") if path.read_bytes() == b""] == [
        "000000004.txt"
    ]
    assert [path.read_bytes() for path in folder.glob("labels-pose/*/000000004.txt")] == [b""]


@pytest.mark.parametrize(
    ("schema", "labels", "data"),
    [
        (EVERY_KIND, "labels-pose", "data-pose.yaml"),
        (LabelSchema(keypoints=EVERY_KIND.keypoints), "labels", "data.yaml"),
    ],
)
def test_poses_hold_the_points(
    packing_world: PackingWorld, tmp_path: Path, schema: LabelSchema, labels: str, data: str
) -> None:
    request = GenerateRequest(project_id=PROJECT, count=15, formats=[DatasetFormat.YOLO])
    job, drawn = packing_world.packed(request, schema)
    folder = packing_world.unpacked(job, "yolo", tmp_path / "yolo")
    facts = yaml.safe_load((folder / data).read_text())
    assert (facts["kpt_shape"], facts["flip_idx"], facts["names"]) == ([3, 3], [0, 2, 1], {0: "object"})
    assert facts["train"] == facts["val"] == "images/train"
    for index, entry in enumerate(drawn):
        points = entry.labels.keypoints
        assert points is not None
        for line in (folder / labels / "train" / f"{index:09d}.txt").read_text().splitlines():
            number, x, y, width, height, *rest = map(float, line.split())
            assert number == 0
            found = np.array(rest).reshape(-1, 3) * [SIDE, SIDE, 1]
            assert np.abs(found - points).max() < 1e-4
            inside = points[points[:, 2] > 0, :2] / SIDE
            assert (np.abs(inside - [x, y]) <= np.array([width, height]) / 2 + 1e-6).all()
            assert x - width / 2 >= -1e-6
            assert x + width / 2 <= 1 + 1e-6


@pytest.mark.parametrize(
    ("mirrors", "order"),
    [
        ({"p0": None, "p1": None, "p2": None}, None),
        ({"left eye": None, "a": "b", "b": "a"}, None),
        ({"nose": None, "a": "b", "b": "a"}, [0, 2, 1]),
        ({"top": "top", "middle": None, "bottom": None}, [0, 1, 2]),
    ],
)
def test_flips_are_left_alone_where_nobody_knows_what_points_become(
    packing_world: PackingWorld, tmp_path: Path, mirrors: dict[str, str | None], order: list[int] | None
) -> None:
    """Ultralytics flips half of the images if there is a `flip_idx`, and none without it."""
    points = [Keypoint(name=name, mirror=mirror) for name, mirror in mirrors.items()]
    folder = unpacked(packing_world, tmp_path, LabelSchema(keypoints=KeypointSchema(points=points)))
    facts = yaml.safe_load((folder / "data.yaml").read_text())
    assert facts.get("flip_idx") == order
    assert ("no `flip_idx`" in (folder / "README.md").read_text()) == (order is None)


def test_any_character_of_a_name_is_read(packing_world: PackingWorld, tmp_path: Path) -> None:
    names = ["🐻 bear", 'a "b" \\ c: #', "ärm, 左"]
    colors = ["#000000", "#102030", "#405060", "#708090"]
    classes = [LabelClass(name=name, color=color) for name, color in zip(["background", *names], colors, strict=True)]
    points = KeypointSchema(points=[Keypoint(name=name) for name in names])
    folder = unpacked(packing_world, tmp_path, LabelSchema(classes=classes, keypoints=points))
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        data = yaml.load((folder / "data.yaml").read_text(encoding="utf-8"), loader)  # noqa: S506
        poses = yaml.load((folder / "data-pose.yaml").read_text(encoding="utf-8"), loader)  # noqa: S506
        assert list(data["names"].values()) == names
        assert poses["kpt_names"] == {0: names}


@pytest.mark.parametrize(
    ("split", "count", "parts"),
    [
        (Split(train=0.9, val=0.1), 5, {"train": "train", "val": "train"}),
        (Split(train=0.9, test=0.1), 20, {"train": "train", "val": "train", "test": "test"}),
        (Split(train=0.8, val=0.1, test=0.1), 20, {"train": "train", "val": "val", "test": "test"}),
    ],
)
def test_every_part_named_has_images(
    packing_world: PackingWorld, tmp_path: Path, split: Split, count: int, parts: dict[str, str]
) -> None:
    """Training stops at a folder that is not there, and asks for `val` whatever the split."""
    request = GenerateRequest(project_id=PROJECT, count=count, formats=[DatasetFormat.YOLO], split=split)
    job, _ = packing_world.packed(request)
    folder = packing_world.unpacked(job, "yolo", tmp_path / "yolo")
    for file in ("data.yaml", "data-pose.yaml"):
        data = yaml.safe_load((folder / file).read_text())
        named = {part: data[part] for part in ("train", "val", "test") if part in data}
        assert named == {part: f"images/{home}" for part, home in parts.items()}
        assert all(any((folder / home).iterdir()) for home in named.values())


def test_mirrored_classes_come_with_a_warning(packing_world: PackingWorld, tmp_path: Path) -> None:
    """Flips of the training exchange points by `flip_idx`; for classes there is no such thing."""
    folder = unpacked(packing_world, tmp_path)
    assert "fliplr=0" in (folder / "README.md").read_text()
    plain = LabelSchema(classes=[entry.model_copy(update={"mirror": None}) for entry in EVERY_KIND.classes])
    assert not any("fliplr" in what for what in YOLO.files(plain).values())


def test_outlines_drawn_by_another_library_are_the_regions(packing_world: PackingWorld, tmp_path: Path) -> None:
    """Pillow draws borders as well as insides: at a scale where that is little, a region is what it was."""
    request = GenerateRequest(project_id=PROJECT, count=3, formats=[DatasetFormat.YOLO])
    job, drawn = packing_world.packed(request)
    folder = packing_world.unpacked(job, "yolo", tmp_path / "yolo")
    for index, entry in enumerate(drawn):
        mask = entry.labels.mask
        assert mask is not None
        canvas = Image.new("L", (SIDE * FINE, SIDE * FINE))
        for line in (folder / f"labels/train/{index:09d}.txt").read_text().splitlines():
            number, *shares = line.split()
            corners = np.array(shares, np.float64).reshape(-1, 2) * SIDE * FINE
            ImageDraw.Draw(canvas).polygon([(x, y) for x, y in corners.tolist()], fill=int(number) + 1)
        for value in (1, 2, 3):
            drawn_there = np.asarray(canvas) == value
            expected = (mask == value).repeat(FINE, axis=0).repeat(FINE, axis=1)
            if expected.any():
                assert (drawn_there & expected).sum() / (drawn_there | expected).sum() > 0.97


@pytest.mark.parametrize("scale", [1, 3, 10])
def test_outlines_drawn_as_ultralytics_does_are_the_regions(
    packing_world: PackingWorld, tmp_path: Path, scale: int
) -> None:
    """It reads 32-bit numbers, cuts their fractions off at the size of the training, and paints the border, too."""
    request = GenerateRequest(project_id=PROJECT, count=6, formats=[DatasetFormat.YOLO])
    job, drawn = packing_world.packed(request)
    folder = packing_world.unpacked(job, "yolo", tmp_path / "yolo")
    for index, entry in enumerate(drawn):
        mask = entry.labels.mask
        assert mask is not None
        found = np.zeros((SIDE * scale, SIDE * scale), np.uint8)
        for line in (folder / f"labels/train/{index:09d}.txt").read_text().splitlines():
            number, *shares = line.split()
            corners = np.array(shares, np.float32).reshape(-1, 2) * np.float32(SIDE * scale)
            cv2.fillPoly(found, [corners.astype(np.int32)], int(number) + 1)
        expected = np.where(mask == 255, 0, mask)
        expected[10, 20] = 0  # the one pixel that stands alone
        wrong = found != expected.repeat(scale, axis=0).repeat(scale, axis=1)
        # At corners where two borders touch, a line may take in some pixels of the larger picture beside it.
        assert wrong.sum() <= (0 if scale == 1 else 4)
