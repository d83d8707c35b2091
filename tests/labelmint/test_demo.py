"""`labelmint demo`: the main job over HTTP, with the bundled generator, twice in one folder."""

import json
import re
import zipfile
from pathlib import Path

from PIL import Image

from labelmint.verify import verify_png_zip
from tests.labelmint.test_cli import labelmint


def test_the_demo_makes_a_dataset_and_the_second_time_fits_nothing(tmp_path: Path) -> None:
    results = tmp_path / "mine" / "demo"
    for run, options, data_dir in ((1, (), "mine"), (2, ("--data", "mine"), "elsewhere")):
        command = ("demo", "--count", "30", "--seeds", "2", *options)
        done = labelmint(tmp_path, *command, timeout=600, LABELMINT_DATA_DIR=data_dir)
        assert done.returncode == 0, done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]
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
