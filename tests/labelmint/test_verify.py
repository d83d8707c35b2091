"""Every way in which a dataset can be broken is noticed."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelmint.verify import DatasetBroken, verify_png_zip
from service.label_schema import Attribute, DepthSchema, Keypoint, KeypointSchema, LabelClass, LabelSchema
from service.requests import DatasetFormat
from workers.dataset_zip import dataset_zip
from workers.formats import FORMATS, Description, Enclosures
from workers.png import depth_png, image_png, mask_png, palette
from workers.tars import PackedSample, SampleFacts

CLASSES = [LabelClass(name="floor", color="#101010"), LabelClass(name="bear", color="#8b5a2b")]
SCHEMA = LabelSchema(
    classes=CLASSES,
    keypoints=KeypointSchema(points=[Keypoint(name="nose")]),
    depth=DepthSchema(scale=0.5, minimum=1, maximum=2),
    attributes=[Attribute(name="species", values=["panda", "koala"])],
)
MASK = np.array([[0, 0], [0, 1]], np.uint8)
FACTS = {
    "count": 3,
    "resolution": 2,
    "classes": [{"index": index, "name": row.name, "color": row.color} for index, row in enumerate(CLASSES)],
    "keypoints": {"points": [{"name": "nose"}]},
    "depth": {"scale": 0.5},
    "attributes": [{"name": "species", "values": ["panda", "koala"]}],
}


@pytest.fixture
def members(tmp_path: Path) -> dict[str, bytes]:
    """The members of a good dataset of three samples."""
    image, mask = image_png(np.zeros((2, 2, 3), np.uint8)), mask_png(MASK, palette(CLASSES))
    depth = depth_png(np.ones((2, 2), np.float32), 0.5)
    samples = [
        PackedSample(
            SampleFacts(index, index, 0, 0.5, {}, [3, 1], [(1.5, 0.5, 2)], [index % 2]), image, "png", mask, depth
        )
        for index in range(3)
    ]
    enclosures = Enclosures(lambda: FACTS, lambda layout: f"# {layout.name}", lambda: b"png")
    description = Description("Bears", SCHEMA, 2, None)
    chunks = dataset_zip(FORMATS[DatasetFormat.PNG], samples, len(samples), description, enclosures)
    (tmp_path / "good.zip").write_bytes(b"".join(chunks))
    with zipfile.ZipFile(tmp_path / "good.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_good_dataset_is_counted(members: dict[str, bytes], tmp_path: Path) -> None:
    contents = verify_png_zip(zipped(members, tmp_path / "x.zip"), 3)
    assert (contents.samples, contents.size, contents.mean_uncertainty) == (3, (2, 2), 0.5)
    assert [(row.name, row.share_of_pixels, row.share_of_samples) for row in contents.classes] == [
        ("floor", 0.75, 1.0),
        ("bear", 0.25, 1.0),
    ]


def test_ignored_pixels_are_in_no_share(members: dict[str, bytes], tmp_path: Path) -> None:
    ignored = np.array([[0, 255], [255, 1]], np.uint8)
    members["masks/000000001.png"] = mask_png(ignored, palette(CLASSES))
    good = b'"coverage": {"floor": 0.75, "bear": 0.25}'
    lines = members["metadata.jsonl"].splitlines()
    lines[1] = lines[1].replace(good, b'"coverage": {"floor": 0.5, "bear": 0.5}')
    members["metadata.jsonl"] = b"\n".join(lines)
    [floor, _] = verify_png_zip(zipped(members, tmp_path / "x.zip"), 3).classes
    assert floor.share_of_pixels == 7 / 10


def test_something_that_is_no_zip_is_broken(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(DatasetBroken):
        verify_png_zip(tmp_path / "x.zip", 3)


def metadata_line_removed(members: dict[str, bytes]) -> None:
    members["metadata.jsonl"] = members["metadata.jsonl"].partition(b"\n")[2]


def lines_swapped(members: dict[str, bytes]) -> None:
    members["metadata.jsonl"] = b"\n".join(members["metadata.jsonl"].splitlines()[::-1])


def coverage_wrong(members: dict[str, bytes]) -> None:
    members["metadata.jsonl"] = members["metadata.jsonl"].replace(b"0.75", b"0.5", 1)


def image_of_another_size(members: dict[str, bytes]) -> None:
    members["images/000000001.png"] = image_png(np.zeros((4, 2, 3), np.uint8))


def mask_without_palette(members: dict[str, bytes]) -> None:
    members["masks/000000001.png"] = members["images/000000001.png"]


def value_that_is_no_class(members: dict[str, bytes]) -> None:
    members["masks/000000002.png"] = mask_png(MASK * 2, palette(CLASSES))


def stray_file(members: dict[str, bytes]) -> None:
    members["images/000000003.png"] = members["images/000000002.png"]


def other_count(members: dict[str, bytes]) -> None:
    members["dataset.json"] = json.dumps({**FACTS, "count": 4}).encode()


def depth_of_eight_bits(members: dict[str, bytes]) -> None:
    members["depth/000000001.png"] = members["masks/000000001.png"]


def depth_missing(members: dict[str, bytes]) -> None:
    del members["depth/000000002.png"]


def keypoint_outside(members: dict[str, bytes]) -> None:
    members["metadata.jsonl"] = members["metadata.jsonl"].replace(b"[1.5, 0.5, 2]", b"[2.5, 0.5, 2]", 1)


def keypoint_missing(members: dict[str, bytes]) -> None:
    members["metadata.jsonl"] = members["metadata.jsonl"].replace(b"[[1.5, 0.5, 2]]", b"[]", 1)


def value_that_no_attribute_has(members: dict[str, bytes]) -> None:
    members["metadata.jsonl"] = members["metadata.jsonl"].replace(b"koala", b"tapir")


def suffix_of_another_format(members: dict[str, bytes]) -> None:
    members["metadata.jsonl"] = members["metadata.jsonl"].replace(b"images/000000001.png", b"images/000000001.jpg")
    members["images/000000001.jpg"] = members.pop("images/000000001.png")


def mask_missing(members: dict[str, bytes]) -> None:
    del members["masks/000000001.png"]


def image_cut_short(members: dict[str, bytes]) -> None:
    members["images/000000001.png"] = members["images/000000001.png"][:45]


@pytest.mark.parametrize(
    "damage",
    [
        depth_of_eight_bits,
        depth_missing,
        keypoint_outside,
        keypoint_missing,
        value_that_no_attribute_has,
        suffix_of_another_format,
        mask_missing,
        image_cut_short,
        metadata_line_removed,
        lines_swapped,
        coverage_wrong,
        image_of_another_size,
        mask_without_palette,
        value_that_is_no_class,
        stray_file,
        other_count,
    ],
)
def test_damage_is_noticed(
    members: dict[str, bytes], tmp_path: Path, damage: Callable[[dict[str, bytes]], None]
) -> None:
    damage(members)
    with pytest.raises(DatasetBroken):
        verify_png_zip(zipped(members, tmp_path / "x.zip"), 3)
