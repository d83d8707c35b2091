"""`labelmint demo`: the main job over HTTP, with the bundled generator, twice in one folder."""

import json
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from rich.progress import Progress, TextColumn

from labelmint.demo import _draw
from labelmint.verify import verify_png_zip
from service.records import Phase
from tests.labelmint.test_cli import labelmint


@pytest.mark.parametrize("phase", Phase)
def test_the_progress_of_every_phase_can_be_drawn(phase: Phase) -> None:
    job = {"phase": phase.value, "progress": {"done": 2, "total": 8, "rate": 1.5, "eta_s": 4.0}}
    with Progress(TextColumn("{task.fields[speed]}"), disable=True) as progress:
        _draw(progress, {}, job)
    assert progress.tasks[0].fields["speed"] == f"1.5 {phase.unit}/s, 4 s left"


def test_the_demo_makes_a_dataset_and_the_second_time_fits_nothing(tmp_path: Path) -> None:
    mine = "50% of #1?"  # a folder may be called so, and its URL has to say it in other letters
    results = tmp_path / mine / "demo"
    for run, options, data_dir in ((1, (), mine), (2, ("--data", mine), "elsewhere")):
        command = ("demo", "--count", "30", "--seeds", "2", *options)
        done = labelmint(tmp_path, *command, timeout=600, LABELMINT_DATA_DIR=data_dir)
        assert done.returncode == 0, done.stderr
        assert [path.name for path in tmp_path.iterdir()] == [mine]
        assert "30 samples, all loaded back" in done.stdout
        assert bool(re.search(r"^invert\s", done.stdout, re.MULTILINE)) == (run == 1)
        contents = verify_png_zip(results / "dataset.zip", 30)
        assert contents.size == (64, 64)
        assert len(contents.classes) == 10
        assert (tmp_path / mine / "store" / "projects").is_dir()
        for picture in ("preview.png", "sheet.png"):
            with Image.open(results / picture) as image:
                image.verify()
    with zipfile.ZipFile(results / "dataset.zip") as archive:
        assert json.loads(archive.read("dataset.json"))["generator"]["id"] == "toy-bears"
