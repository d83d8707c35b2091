"""Bears as an upload: the labels of the renderer, and always the same bytes."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.bears.renderer import render
from models.bears.scene import KEYPOINT_MIRROR, KEYPOINTS
from models.bears.upload import DEPTH_SCALE, KINDS, SKELETON, bear_files, write_upload

FILES = {
    "segmentation": "segmentation/bear-00003.png",
    "keypoints": "keypoints.json",
    "depth": "depth/bear-00003.png",
    "class": "classes.csv",
}


def test_every_kind_brings_its_files_and_fields() -> None:
    everything = dict(bear_files(2, 3, 32))
    assert set(FILES.values()) < set(everything)
    fields = {"segmentation": "classes", "keypoints": "keypoints", "depth": "depth", "class": "attributes"}
    for kind in KINDS:
        files = dict(bear_files(2, 3, 32, kinds=[kind]))
        assert [FILES[other] in files for other in KINDS] == [other == kind for other in KINDS]
        assert set(json.loads(files["project.json"])) == {"name", "generator", fields[kind]}
        assert all(everything[path] == data for path, data in files.items() if path != "project.json")


@pytest.mark.parametrize("kinds", [[], ["boxes"], ["depth", "boxes"]])
def test_another_kind_is_refused(kinds: list[str]) -> None:
    with pytest.raises(ValueError, match="label kinds are some of"):
        bear_files(1, kinds=kinds)


def test_depth_reaches_no_further_than_its_steps() -> None:
    files = dict(bear_files(2, 3, 32, kinds=["depth"]))
    steps = np.asarray(Image.open(io.BytesIO(files["depth/bear-00004.png"])))
    assert np.abs(steps * DEPTH_SCALE - render([4], 32).depth[0]).max() <= DEPTH_SCALE * 0.51
    far = render(range(300), 16).depth.max()
    assert 0.8 * 65535 * DEPTH_SCALE < far < 65535 * DEPTH_SCALE


def test_the_project_knows_left_from_right() -> None:
    points = json.loads(dict(bear_files(1, kinds=["keypoints"]))["project.json"])["keypoints"]["points"]
    for index, point in enumerate(points):
        assert point == {"name": KEYPOINTS[index]} | (
            {} if KEYPOINT_MIRROR[index] == index else {"mirror": KEYPOINTS[KEYPOINT_MIRROR[index]]}
        )
    assert {end for line in SKELETON for end in line} == set(KEYPOINTS)


def test_more_bears_than_are_rendered_at_once_are_the_same_bears() -> None:
    many, few = dict(bear_files(70, 0, 16)), dict(bear_files(6, 64, 16))
    assert all(many[path] == data for path, data in few.items() if path.endswith(".png"))
    rows = many["classes.csv"].decode().split("\r\n")
    assert rows[65:71] == few["classes.csv"].decode().split("\r\n")[1:7]


def test_the_same_bears_give_the_same_zip(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        write_upload(tmp_path / name, bear_files(2, 3, 16))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert zipfile.ZipFile(tmp_path / "one.zip").testzip() is None


def test_a_zip_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[str, bytes]]:
        yield "project.json", b"{}"
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_upload(tmp_path / "bears.zip", failing())
    assert list(tmp_path.iterdir()) == []
