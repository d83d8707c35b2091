"""The `webdataset` format, read by `webdataset`."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from service.requests import DatasetFormat, GenerateRequest, ImageFormat, Split
from tests.workers.packing import PROJECT, PackingWorld
from workers.formats import webdataset as layout
from workers.split import PARTS, part_of

SPLIT = Split(train=0.5, val=0.25, test=0.25)


def test_tars_hold_the_samples_of_one_part(
    packing_world: PackingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_MOST_SAMPLES", 4)
    request = GenerateRequest(project_id=PROJECT, count=20, formats=[DatasetFormat.WEBDATASET], split=SPLIT)
    job, drawn = packing_world.packed(request)
    folder = packing_world.unpacked(job, "webdataset", tmp_path / "webdataset")
    for part in PARTS:
        expected = [index for index in range(20) if part_of(index, SPLIT) == part]
        tars = sorted(folder.glob(f"{part}-*.tar"))
        assert [tar.name for tar in tars] == [f"{part}-{number:05d}.tar" for number in range(-(-len(expected) // 4))]
        rows = list(webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False))
        assert [row["__key__"] for row in rows] == [f"{index:09d}" for index in expected]
        for index, row in zip(expected, rows, strict=True):
            assert (np.asarray(Image.open(io.BytesIO(row["image.png"]))) == drawn[index].image).all()
            assert (np.asarray(Image.open(io.BytesIO(row["segmentation.png"]))) == drawn[index].labels.mask).all()
            assert Image.open(io.BytesIO(row["depth.png"])).mode == "I;16"
            facts = json.loads(row["json"])
            labels = drawn[index].labels
            assert labels.keypoints is not None
            assert labels.attributes is not None
            assert facts["keypoints"] == labels.keypoints.tolist()
            assert facts["attributes"] == labels.attributes.tolist()
    assert (folder / "classes.txt").read_text().splitlines() == ["background", "disc, red", "bar: left", "bar: right"]


def test_a_tar_is_full_by_its_bytes_too(
    packing_world: PackingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_MOST_BYTES", 1)
    request = GenerateRequest(
        project_id=PROJECT, count=5, formats=[DatasetFormat.WEBDATASET], image_format=ImageFormat.JPEG
    )
    job, _ = packing_world.packed(request)
    folder = packing_world.unpacked(job, "webdataset", tmp_path / "webdataset")
    assert len(list(folder.glob("train-*.tar"))) == 5
    [row] = webdataset.WebDataset(str(folder / "train-00003.tar"), shardshuffle=False)
    assert row["__key__"] == "000000003"
    assert row["image.jpg"][:2] == b"\xff\xd8"
