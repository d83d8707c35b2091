"""`labelmint bears render`: the kinds asked for, and a plain word about others."""

import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labelmint.main import app

RENDER = ["bears", "render", "--count", "1", "--size", "16", "--out"]


@pytest.mark.parametrize(
    ("arguments", "folders"),
    [
        ([], {"images", "segmentation", "depth", "keypoints.json", "classes.csv"}),
        (["--labels", "segmentation"], {"images", "segmentation"}),
        (["--labels", "class, keypoints"], {"images", "keypoints.json", "classes.csv"}),
    ],
)
def test_the_kinds_asked_for_are_rendered(tmp_path: Path, arguments: list[str], folders: set[str]) -> None:
    done = CliRunner().invoke(app, [*RENDER, str(tmp_path / "bears.zip"), *arguments])
    assert done.exit_code == 0, done.output
    names = zipfile.ZipFile(tmp_path / "bears.zip").namelist()
    assert {name.split("/")[0] for name in names} == folders | {"project.json"}


@pytest.mark.parametrize("labels", ["boxes", "", "segmentation,"])
def test_other_kinds_are_refused(tmp_path: Path, labels: str) -> None:
    done = CliRunner().invoke(app, [*RENDER, str(tmp_path / "bears.zip"), "--labels", labels])
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []
