"""The `png` format, read as its files are: every label exactly as it was drawn, and a line about each sample."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from service.requests import GenerateRequest, Split
from tests.workers.packing import PROJECT, SCALE, PackingWorld
from workers.split import part_of


def test_pictures_are_those_that_were_drawn(packing_world: PackingWorld, tmp_path: Path) -> None:
    job, drawn = packing_world.packed(GenerateRequest(project_id=PROJECT, count=12))
    folder = packing_world.unpacked(job, "png", tmp_path / "png")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(12))
    for row, entry in zip(rows, drawn, strict=True):
        assert (np.asarray(Image.open(folder / row["file_name"])) == entry.image).all()
        assert (np.asarray(Image.open(folder / row["mask_file_name"])) == entry.labels.mask).all()
        assert entry.labels.depth is not None
        steps = np.asarray(Image.open(folder / row["depth_file_name"])).astype(np.float64)
        assert ((steps == 0) == np.isnan(entry.labels.depth)).all()
        assert np.nanmax(np.abs(np.where(steps == 0, np.nan, steps * SCALE) - entry.labels.depth)) < 0.51 * SCALE


def test_a_line_tells_all_that_is_no_picture(packing_world: PackingWorld, tmp_path: Path) -> None:
    split = Split(train=0.5, val=0.25, test=0.25)
    job, drawn = packing_world.packed(GenerateRequest(project_id=PROJECT, count=12, split=split))
    folder = packing_world.unpacked(job, "png", tmp_path / "png")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    mask, points = drawn[5].labels.mask, drawn[5].labels.keypoints
    assert mask is not None
    assert points is not None
    shares = np.bincount(mask[mask != 255], minlength=4) / (mask != 255).sum()
    assert rows[5] == {
        "index": 5,
        "source": 5,
        "version": 0,
        "split": part_of(5, split),
        "origin": "generated",
        "file_name": "images/000000005.png",
        "mask_file_name": "masks/000000005.png",
        "depth_file_name": "depth/000000005.png",
        "uncertainty": 0.05,
        "uncertainties": {"segmentation": 0.05, "keypoints": 0.05, "depth": 0.05, "class": 0.05},
        "coverage": dict(
            zip(["background", "disc, red", "bar: left", "bar: right"], shares.round(6).tolist(), strict=True)
        ),
        "keypoints": points.tolist(),
        "attributes": {"size": "large", "tone": "light"},
        "attempts": 2,
        "met": True,
    }
    assert rows[4]["attributes"] == {"size": "small", "tone": None}
    assert {row["split"] for row in rows} == {"train", "val", "test"}


def test_versions_of_a_sample_stay_in_one_part(packing_world: PackingWorld, tmp_path: Path) -> None:
    split = Split(train=0.5, val=0.5)
    flip = [{"name": "HorizontalFlip"}]
    request = GenerateRequest.model_validate(
        {"project_id": PROJECT, "count": 9, "multiply": 3, "augment": flip, "split": split}
    )
    job, _ = packing_world.packed(request)
    folder = packing_world.unpacked(job, "png", tmp_path / "png")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [(row["source"], row["version"]) for row in rows] == [divmod(index, 3) for index in range(27)]
    assert all(row["split"] == part_of(row["source"], split) for row in rows)
