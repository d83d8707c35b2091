"""`labelmint demo`: the main job over HTTP, with the bundled generator, twice."""

import json
import re
import zipfile
from pathlib import Path

from PIL import Image

from labelmint.verify import verify_png_zip
from tests.labelmint.test_cli import labelmint


def test_the_demo_makes_a_dataset_and_the_second_time_fits_nothing(tmp_path: Path) -> None:
    results = tmp_path / "data" / "demo"
    for run in (1, 2):
        done = labelmint(tmp_path, "demo", "--count", "30", "--seeds", "2", timeout=600)
        assert done.returncode == 0, done.stderr
        assert "30 samples, all loaded back" in done.stdout
        assert bool(re.search(r"^invert\s", done.stdout, re.MULTILINE)) == (run == 1)
        contents = verify_png_zip(results / "dataset.zip", 30)
        assert contents.size == (64, 64)
        assert len(contents.classes) == 10
        for picture in ("preview.png", "sheet.png"):
            with Image.open(results / picture) as image:
                image.verify()
    with zipfile.ZipFile(results / "dataset.zip") as archive:
        assert json.loads(archive.read("dataset.json"))["generator"]["id"] == "toy-bears"
