"""The way to load a dataset that its card tells works, for every format and all sorts of labels."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.dataset_formats import suits
from service.label_schema import DepthSchema, LabelSchema
from service.requests import DatasetFormat, GenerateRequest, ImageFormat, Split
from tests.workers.packing import EVERY_KIND, PROJECT, PackingWorld
from workers.formats import FORMATS
from workers.split import Part, part_of

SCHEMAS = {
    "every kind": EVERY_KIND,
    "segmentation": LabelSchema(classes=EVERY_KIND.classes),
    "keypoints": LabelSchema(keypoints=EVERY_KIND.keypoints),
    "depth and attributes": LabelSchema(depth=EVERY_KIND.depth, attributes=EVERY_KIND.attributes),
}


LOADED = {
    DatasetFormat.PNG: {"image"},
    DatasetFormat.COCO: {"image"},
    DatasetFormat.YOLO: {"outline", "points"},
    DatasetFormat.VOC: {"objects"},
    DatasetFormat.HUGGINGFACE: {"image"},
    DatasetFormat.WEBDATASET: {"image"},
}
"""Names that a snippet binds when it loads a sample."""


@pytest.mark.parametrize(
    ("kinds", "image_format"),
    [
        ("every kind", ImageFormat.PNG),
        ("segmentation", ImageFormat.JPEG),
        ("keypoints", ImageFormat.WEBP),
        ("depth and attributes", ImageFormat.JPEG),
    ],
)
def test_every_card_tells_how_to_load_its_zip(
    packing_world: PackingWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kinds: str,
    image_format: ImageFormat,
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    schema = SCHEMAS[kinds]
    formats = [layout for layout in DatasetFormat if suits(layout, schema)]
    split = Split(train=0.5, val=0.25, test=0.25)
    request = GenerateRequest(project_id=PROJECT, count=11, formats=formats, split=split, image_format=image_format)
    job, _ = packing_world.packed(request, schema)
    for layout in formats:
        folder = packing_world.unpacked(job, layout, tmp_path / layout)
        monkeypatch.chdir(folder)
        assert_loads(folder, layout, schema, "train")


@pytest.mark.parametrize(
    ("split", "part"), [(Split(train=0.0, val=1.0), "val"), (Split(train=0.01, val=0.0, test=0.99), "test")]
)
def test_a_card_loads_a_part_that_has_images(
    packing_world: PackingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: Split, part: Part
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert {part_of(index, split) for index in range(3)} == {part}
    job, _ = packing_world.packed(
        GenerateRequest(project_id=PROJECT, count=3, formats=list(DatasetFormat), split=split)
    )
    for layout in DatasetFormat:
        folder = packing_world.unpacked(job, layout, tmp_path / layout)
        monkeypatch.chdir(folder)
        assert_loads(folder, layout, EVERY_KIND, part)


def assert_loads(folder: Path, layout: DatasetFormat, schema: LabelSchema, part: Part) -> None:
    """Runs what the card of a zip, unpacked where we are, says of loading one part."""
    snippet = FORMATS[layout].snippet(schema, part)
    assert snippet in (folder / "README.md").read_text()
    loaded: dict[str, object] = {}
    exec(compile(snippet, f"{layout} snippet", "exec"), loaded)  # noqa: S102
    assert loaded.keys() & LOADED[layout], "the loop was never entered"


DOCUMENTATION = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()


@pytest.mark.parametrize("layout", [DatasetFormat.PNG, DatasetFormat.HUGGINGFACE, DatasetFormat.WEBDATASET])
def test_what_the_documentation_shows_takes_the_scale_of_depth_from_the_dataset(
    packing_world: PackingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: DatasetFormat
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    scale = 0.037
    schema = EVERY_KIND.model_copy(update={"depth": DepthSchema(unit="mm", scale=scale, minimum=1.0, maximum=4.0)})
    job, drawn = packing_world.packed(GenerateRequest(project_id=PROJECT, count=3, formats=[layout]), schema)
    monkeypatch.chdir(packing_world.unpacked(job, layout, tmp_path / "unpacked"))
    snippet = re.search(rf"^## `{layout}`$.*?^```python\n(.*?)^```$", DOCUMENTATION, re.DOTALL | re.MULTILINE)
    assert snippet is not None
    loaded: dict[str, object] = {}
    exec(compile(snippet[1], f"{layout} in the documentation", "exec"), loaded)  # noqa: S102
    depth = drawn[-1].packed.depth
    assert depth is not None
    with Image.open(io.BytesIO(depth)) as picture:
        assert np.allclose(loaded["depth"], np.array(picture) * scale)  # type: ignore[arg-type]
