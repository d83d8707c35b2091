"""The `huggingface` format, read by `datasets`."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import load_dataset

from service.requests import DatasetFormat, GenerateRequest, Split
from tests.workers.packing import PROJECT, SCALE, PackingWorld
from workers.split import PARTS, part_of

SPLIT = Split(train=0.5, val=0.25, test=0.25)
NAMES = {"train": "train", "val": "validation", "test": "test"}
"""What the library calls the parts."""


@pytest.mark.parametrize("split", [SPLIT, None])
def test_every_label_of_every_part_is_read(packing_world: PackingWorld, tmp_path: Path, split: Split | None) -> None:
    request = GenerateRequest(project_id=PROJECT, count=14, formats=[DatasetFormat.HUGGINGFACE], split=split)
    job, drawn = packing_world.packed(request)
    folder = packing_world.unpacked(job, "huggingface", tmp_path / "huggingface")
    dataset = load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))
    assert sorted(dataset) == (sorted(NAMES[part] for part in PARTS) if split else ["train"])
    seen = 0
    for part in PARTS if split else ("train",):
        expected = [index for index in range(14) if part_of(index, split) == part]
        rows = dataset[NAMES[part]]
        assert rows["index"][:] == expected
        for row in rows:
            entry = drawn[row["index"]]
            assert entry.labels.depth is not None
            assert entry.labels.keypoints is not None
            assert (np.asarray(row["image"]) == entry.image).all()
            assert (np.asarray(row["mask"]) == entry.labels.mask).all()
            steps = np.asarray(row["depth"]).astype(np.float64)
            assert np.nanmax(np.abs(np.where(steps == 0, np.nan, steps * SCALE) - entry.labels.depth)) < 0.51 * SCALE
            assert row["keypoints"] == entry.labels.keypoints.tolist()
            assert row["attributes"]["size"] == ["small", "large"][row["index"] % 2]
            assert (row["attributes"]["tone"] is None) == (row["index"] % 4 == 0)
            seen += 1
    assert seen == 14


def test_the_card_begins_with_what_the_hub_reads(packing_world: PackingWorld, tmp_path: Path) -> None:
    request = GenerateRequest(project_id=PROJECT, count=4, formats=[DatasetFormat.HUGGINGFACE], split=SPLIT)
    job, _ = packing_world.packed(request)
    folder = packing_world.unpacked(job, "huggingface", tmp_path / "huggingface")
    _, header, card = (folder / "README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(header)
    assert facts["pretty_name"] == "Shapes & sizes"
    assert "keypoint-detection" in facts["task_categories"]
    assert [entry["split"] for entry in facts["configs"][0]["data_files"]] == ["train", "validation", "test"]
    assert card.lstrip().startswith("# Shapes & sizes")


@pytest.mark.parametrize("named", [True, False])
def test_a_part_without_images_is_left_out(packing_world: PackingWorld, tmp_path: Path, named: bool) -> None:
    split = Split(train=0.98, val=0.01, test=0.01)
    assert {part_of(index, split) for index in range(3)} == {"train"}
    job, _ = packing_world.packed(
        GenerateRequest(project_id=PROJECT, count=3, formats=[DatasetFormat.HUGGINGFACE], split=split)
    )
    folder = str(packing_world.unpacked(job, "huggingface", tmp_path / "huggingface"))
    source = {"path": "imagefolder", "data_dir": folder} if named else {"path": folder}
    dataset = load_dataset(**source, cache_dir=str(tmp_path / "cache"))
    assert {part: len(rows) for part, rows in dataset.items()} == {"train": 3}


def test_any_character_of_a_name_is_read(packing_world: PackingWorld, tmp_path: Path) -> None:
    packing_world.project_name = '🐻 "bears": ä #1'
    job, _ = packing_world.packed(
        GenerateRequest(project_id=PROJECT, count=2, formats=[DatasetFormat.HUGGINGFACE], split=SPLIT)
    )
    folder = packing_world.unpacked(job, "huggingface", tmp_path / "huggingface")
    _, header, card = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(header)["pretty_name"] == packing_world.project_name
    assert card.lstrip().startswith(f"# {packing_world.project_name}: 2 generated")
