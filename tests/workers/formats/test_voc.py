"""The `voc` format, read by torchvision."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCDetection, VOCSegmentation

from service.requests import DatasetFormat, GenerateRequest, ImageFormat, Split
from tests.workers.packing import EVERY_KIND, PROJECT, SIDE, PackingWorld
from workers.formats.regions import SMALLEST_REGION, regions
from workers.formats.voc import VOC
from workers.split import PARTS, part_of

SPLIT = Split(train=0.5, val=0.25, test=0.25)


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_images_masks_and_boxes_are_read(
    packing_world: PackingWorld, tmp_path: Path, image_format: ImageFormat
) -> None:
    request = GenerateRequest(
        project_id=PROJECT, count=12, formats=[DatasetFormat.VOC], split=SPLIT, image_format=image_format
    )
    job, drawn = packing_world.packed(request)
    folder = packing_world.unpacked(job, "voc", tmp_path / "voc")
    seen = 0
    parts = {part: [index for index in range(12) if part_of(index, SPLIT) == part] for part in PARTS}
    for part, expected in [*parts.items(), ("trainval", parts["train"] + parts["val"])]:
        segmentation = VOCSegmentation(str(folder), year="2007", image_set=part)
        detection = VOCDetection(str(folder), year="2007", image_set=part)
        assert len(segmentation) == len(detection) == len(expected)
        for index, (image, mask), (_, annotation) in zip(expected, segmentation, detection, strict=True):
            labels = drawn[index].labels.mask
            assert labels is not None
            assert (np.asarray(mask) == labels).all()
            with Image.open(io.BytesIO(drawn[index].packed.image)) as stored:
                difference = np.asarray(image, np.float64) - np.asarray(stored.convert("RGB"))
            assert np.sqrt((difference**2).mean()) < 6
            check_boxes(annotation["annotation"], labels)
            seen += 1
    assert seen == 12 + len(parts["train"] + parts["val"])
    assert all(path.read_bytes()[:2] == b"\xff\xd8" for path in folder.glob("VOCdevkit/VOC2007/JPEGImages/*"))


def check_boxes(annotation: dict[str, object], mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    """Together, the boxes of a class are the box of its pixels."""
    assert annotation["size"] == {"width": str(SIDE), "height": str(SIDE), "depth": "3"}
    objects = annotation.get("object", [])
    assert isinstance(objects, list)
    for value, name in ((1, "disc, red"), (2, "bar: left")):
        boxes = [{side: int(at) for side, at in row["bndbox"].items()} for row in objects if row["name"] == name]
        there = mask == value
        assert bool(boxes) == there.any()
        if boxes:
            columns, rows = np.flatnonzero(there.any(axis=0)) + 1, np.flatnonzero(there.any(axis=1)) + 1
            assert (min(box["xmin"] for box in boxes), max(box["xmax"] for box in boxes)) == (columns[0], columns[-1])
            assert (min(box["ymin"] for box in boxes), max(box["ymax"] for box in boxes)) == (rows[0], rows[-1])
    assert not [row for row in objects if row["name"] == "background"]


def test_the_card_makes_borders_of_boxes(
    packing_world: PackingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken as borders as they stand, boxes are a pixel too small, and those of thin regions have no area."""
    job, drawn = packing_world.packed(GenerateRequest(project_id=PROJECT, count=3, formats=[DatasetFormat.VOC]))
    monkeypatch.chdir(packing_world.unpacked(job, "voc", tmp_path / "voc"))
    loaded: dict[str, object] = {}
    exec(compile(VOC.snippet(EVERY_KIND, "train"), "snippet", "exec"), loaded)  # noqa: S102
    mask = drawn[-1].labels.mask
    assert mask is not None
    assert loaded["boxes"] == [
        list(region.box) for region in regions(mask, [1, 2, 3]) if region.pixels >= SMALLEST_REGION
    ]
