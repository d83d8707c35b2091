"""The way to load a dataset that its card tells works, for every format and all sorts of labels."""

from pathlib import Path

import pytest

from service.dataset_formats import suits
from service.label_schema import LabelSchema
from service.requests import DatasetFormat, GenerateRequest, ImageFormat, Split
from tests.workers.packing import EVERY_KIND, PROJECT, PackingWorld
from workers.formats import FORMATS

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
        snippet = FORMATS[layout].snippet(schema)
        assert snippet in (folder / "README.md").read_text()
        monkeypatch.chdir(folder)
        loaded: dict[str, object] = {}
        exec(compile(snippet, f"{layout} snippet", "exec"), loaded)  # noqa: S102
        assert loaded.keys() & LOADED[layout], "the loop was never entered"
