"""The card of a dataset tells what was asked for, how it went, and what is in it."""

import json
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from service.label_schema import Attribute, DepthSchema, Keypoint, KeypointSchema, LabelSchema
from service.records import dataset_key, labeler_key
from service.requests import DatasetFormat, GenerateRequest
from tests.workers.packing import EVERY_KIND, FIT, PROJECT, SCALE, PackingWorld, draw
from workers.formats import FORMATS
from workers.package import make_dataset

REQUEST = {
    "project_id": PROJECT,
    "count": 10,
    "seed": 5,
    "split": {"train": 0.8, "val": 0.2},
    "multiply": 2,
    "augment": [{"name": "HorizontalFlip", "p": 0.25}],
    "balance": {"class": {"small": 3}, "coverage": {"disc, red": {"samples": 2, "min_share": 0.1}}},
    "ignore_fraction": 0.05,
}


def test_a_card_tells_how_the_dataset_was_made_and_what_it_holds(packing_world: PackingWorld) -> None:
    packing_world.packed(GenerateRequest.model_validate(REQUEST))
    card = packing_world.store.read(dataset_key("job", "card.md")).decode()
    for line in (
        "20 generated images with labels (segmentation, keypoints, depth, class)",
        "| job seed | 5:",
        "| parts | train 16, val 4 |",
        "| augmentation | HorizontalFlip (p = 0.25) |",
        "| versions | 2 of each sample |",
        "| balance | 3 with small; 2 with 10% of disc, red or more: 1 images do not show what was wished of them |",
        "| 1 | disc, red | `#c02020` |",
        "| left end | 0 | 16 | 4 |",
        "| tone | not known | 5 |",
        "From 1 to 4 m.",
        "The labels are predictions.",
    ):
        assert line in card
    assert all(FORMATS[layout].snippet(EVERY_KIND, "train") in card for layout in DatasetFormat)


def test_figures_in_a_small_unit_are_told(packing_world: PackingWorld) -> None:
    """In metres, heights under a microscope differ by billionths."""
    depth = DepthSchema(unit="m", scale=SCALE * 1e-9, minimum=1e-9, maximum=4e-9)
    schema = LabelSchema(depth=depth)
    packing_world.put_project(schema)
    packed = [draw(index, schema).packed for index in range(4)]
    facts = [replace(each.facts, uncertainty=2e-10, kinds={"depth": 2e-10}) for each in packed]
    request = GenerateRequest(project_id=PROJECT, count=4, formats=[DatasetFormat.PNG, DatasetFormat.COCO])
    bench = packing_world.bench("job", request)
    samples = [replace(each, facts=of_each) for each, of_each in zip(packed, facts, strict=True)]
    packing_world.put_shards("job", samples, 1, shard_size=4)
    make_dataset(bench)
    png, coco = (
        zipfile.ZipFile(BytesIO(packing_world.store.read(dataset_key("job", f"{name}.zip"))))
        for name in ("png", "coco")
    )
    dataset = json.loads(png.read("dataset.json"))
    assert dataset["depth_range"] == pytest.approx([1e-9, 4e-9], rel=0.01)
    assert (dataset["mean_uncertainty"], dataset["mean_uncertainties"]) == (2e-10, {"depth": 2e-10})
    histogram = dataset["uncertainty_histogram"]
    assert histogram["counts"].index(4) * histogram["bin_width"] == pytest.approx(2e-10, rel=0.2)
    assert "2e-10 on average" in png.read("README.md").decode()
    for line in png.read("metadata.jsonl").splitlines():
        row = json.loads(line)
        assert (row["uncertainty"], row["uncertainties"]) == (2e-10, {"depth": 2e-10})
    images = json.loads(coco.read("annotations/images_train.json"))["images"]
    assert [entry["uncertainty"] for entry in images] == [2e-10] * 4


@pytest.mark.parametrize(("share", "told"), [(0.0004, "0.04%"), (0.07, "7%"), (0.125, "12.5%")])
def test_a_small_share_that_was_wished_is_told(packing_world: PackingWorld, share: float, told: str) -> None:
    balance = {"coverage": {"disc, red": {"samples": 2, "min_share": share}}}
    packing_world.packed(GenerateRequest.model_validate({"project_id": PROJECT, "count": 4, "balance": balance}))
    assert f"2 with {told} of disc, red or more" in packing_world.store.read(dataset_key("job", "card.md")).decode()


def test_names_of_a_card_are_shown_as_they_are(packing_world: PackingWorld) -> None:
    classes = [entry.model_copy() for entry in EVERY_KIND.classes]
    classes[1].name = "a|b `c` <img src=x> [d](e) \\"
    attributes = [Attribute(name="kind|of", values=["<b>", "|"]), Attribute(name="tone", values=["dark", "light"])]
    points = KeypointSchema(points=[Keypoint(name="tip|top"), Keypoint(name="b"), Keypoint(name="c")])
    depth = DepthSchema(unit="<i>", scale=0.002, minimum=1, maximum=4)
    schema = LabelSchema(classes=classes, keypoints=points, depth=depth, attributes=attributes)
    packing_world.project_name = "<u>Bears</u>"
    key = labeler_key(FIT, "report.json")
    report = json.loads(packing_world.store.read(key)) | {"advice": ["More of <b>, please."]}
    packing_world.store.put(key, json.dumps(report).encode())
    packing_world.packed(GenerateRequest(project_id=PROJECT, count=2), schema)
    card = packing_world.store.read(dataset_key("job", "card.md")).decode()
    for line in (
        "# &lt;u>Bears&lt;/u>: 2 generated",
        "| 1 | a\\|b \\`c\\` &lt;img src=x> \\[d](e) \\\\ | `#c02020` |",
        "| tip\\|top |",
        "| kind\\|of | &lt;b> |",
        "| kind\\|of | \\| |",
        "In &lt;i>: pixel",
        "- More of &lt;b>, please.",
    ):
        assert line in card


def test_a_unit_of_an_older_project_stays_within_its_line(packing_world: PackingWorld) -> None:
    """Today a unit with a line break is refused; a record from before is read with what does not print replaced."""
    stored = EVERY_KIND.model_copy(deep=True)
    assert stored.depth is not None
    stored.depth.unit = "m\nimport os;print(1)#"
    packing_world.packed(GenerateRequest(project_id=PROJECT, count=2), stored)
    card = packing_world.store.read(dataset_key("job", "card.md")).decode()
    assert "m�import os;print(1)#" in card
    assert "\nimport os;" not in card


def test_a_card_says_what_could_not_be_delivered(packing_world: PackingWorld) -> None:
    """Sample 3 is drawn as one that does not show what was wished of it."""
    packing_world.packed(GenerateRequest.model_validate(REQUEST | {"multiply": 1, "augment": [], "count": 10}))
    with zipfile.ZipFile(BytesIO(packing_world.store.read(dataset_key("job", "png.zip")))) as archive:
        card, facts = archive.read("README.md").decode(), json.loads(archive.read("dataset.json"))
    assert "1 images do not show what was wished of them: the generator did not draw it in as many" in card
    assert "augmentation took it away" not in card
    assert "| candidates drawn | 15 for 10 samples |" in card
    assert (facts["unmet"], facts["acceptance"]) == (1, round(10 / 15, 6))
    assert facts["balance"]["class"] == {"small": 3}
    assert sum(facts["uncertainty_histogram"]["counts"]) == 10


@pytest.mark.parametrize("layout", list(DatasetFormat))
def test_the_documentation_shows_each_format_as_its_card_does(layout: DatasetFormat) -> None:
    page = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()
    assert f"```python\n{FORMATS[layout].snippet(EVERY_KIND, 'train')}\n```" in page
    for path in FORMATS[layout].files(EVERY_KIND):
        assert path.removesuffix(" …").rpartition("/")[2] in page
