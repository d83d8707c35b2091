"""The `huggingface` format: an image folder with metadata, which `datasets` loads with masks and depth as pictures."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

from service.label_schema import LabelKind, LabelSchema
from service.requests import DatasetFormat
from workers.formats.format import Description, Enclosures, Format, Worked, enclosed
from workers.formats.members import Member, Spool
from workers.formats.metadata import lines_of_labels, lines_of_scale, metadata_line
from workers.split import Part

_TASKS = {
    LabelKind.SEGMENTATION: "image-segmentation",
    LabelKind.KEYPOINTS: "keypoint-detection",
    LabelKind.DEPTH: "depth-estimation",
    LabelKind.CLASS: "image-classification",
}


def _members(samples: Iterable[Worked[None]], description: Description, enclosures: Enclosures) -> Iterator[Member]:
    with ExitStack() as opened:
        metadata: dict[Part, Spool] = {}
        for sample, _ in samples:
            part, stem, files = description.part(sample), sample.facts.stem, {}
            for column, folder, suffix, data in (
                ("file_name", "images", sample.image_suffix, sample.image),
                ("mask_file_name", "masks", "png", sample.mask),
                ("depth_file_name", "depth", "png", sample.depth),
            ):
                if data is not None:
                    files[column] = f"{folder}/{stem}.{suffix}"
                    yield Member.of(f"{part}/{files[column]}", data)
            if part not in metadata:
                metadata[part] = opened.enter_context(Spool())
            metadata[part].write(metadata_line(sample, part, description.schema, files))
        # A small dataset may have no image for a small share, and `datasets` loads none of the parts if one is empty.
        parts = [part for part in description.parts if part in metadata]
        for part in parts:
            yield Member.of(f"{part}/metadata.jsonl", metadata[part])
    yield from enclosed(enclosures, HUGGINGFACE, _front_matter(description, parts))


def _front_matter(description: Description, parts: Sequence[Part]) -> str:
    """What the hub reads at the top of a card. Values are JSON, which YAML contains but for its pairs of escapes."""
    tasks = [_TASKS[kind] for kind in description.schema.label_kinds]
    # Said outright, so that nobody takes the pictures beside the folders for samples.
    folders = [{"split": _name_of(part), "path": f"{part}/**"} for part in parts]
    configs = [{"config_name": "default", "data_files": folders}]
    facts = {"pretty_name": description.name, "task_categories": tasks, "tags": ["synthetic"], "configs": configs}
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in facts.items()]
    return f"---\n{''.join(lines)}---\n\n"


def _name_of(part: Part) -> str:
    """What the library calls a part, whether it goes by the folders or by the card."""
    return "validation" if part == "val" else part


def _files(schema: LabelSchema) -> dict[str, str]:
    files = {"train/images/000000000.png …": "the images of each part"}
    if schema.classes:
        files["train/masks/000000000.png …"] = "8-bit palette; the pixel value is the class, 255 is ignored"
    if schema.depth:
        files["train/depth/000000000.png …"] = "16-bit grey; depth = pixel × scale, 0 is not known"
    files["train/metadata.jsonl …"] = "a line a sample: its files, labels and uncertainty"
    return files


def _snippet(schema: LabelSchema, part: Part) -> str:
    lines = ["import json"] if schema.depth else []
    lines += ["import numpy as np", "from datasets import load_dataset", "", *lines_of_scale(schema)]
    lines += [f'for row in load_dataset("imagefolder", data_dir=".", split="{_name_of(part)}"):']
    lines += ['    image = row["image"]']
    return "\n".join(lines + lines_of_labels(schema, 'row["mask"]', 'row["depth"]'))


HUGGINGFACE = Format(DatasetFormat.HUGGINGFACE, _members, _files, _snippet)
