"""The `png` format: images, masks and depth in folders, and a line of JSON about each sample."""

from collections.abc import Iterable, Iterator

from service.label_schema import LabelSchema
from service.requests import DatasetFormat
from workers.formats.format import Description, Enclosures, Format, Worked, enclosed
from workers.formats.members import Member, Spool
from workers.formats.metadata import lines_of_labels, lines_of_scale, metadata_line
from workers.split import Part


def _members(samples: Iterable[Worked[None]], description: Description, enclosures: Enclosures) -> Iterator[Member]:
    with Spool() as metadata:
        for sample, _ in samples:
            stem, files = sample.facts.stem, {}
            for column, folder, suffix, data in (
                ("file_name", "images", sample.image_suffix, sample.image),
                ("mask_file_name", "masks", "png", sample.mask),
                ("depth_file_name", "depth", "png", sample.depth),
            ):
                if data is not None:
                    files[column] = f"{folder}/{stem}.{suffix}"
                    yield Member.of(files[column], data)
            metadata.write(metadata_line(sample, description.part(sample), description.schema, files))
        yield Member.of("metadata.jsonl", metadata)
    yield from enclosed(enclosures, PNG)


def _files(schema: LabelSchema) -> dict[str, str]:
    files = {"images/000000000.png …": "8-bit RGB; `.jpg` or `.webp` where that was asked for"}
    if schema.classes:
        files["masks/000000000.png …"] = "8-bit palette; the pixel value is the class, 255 is ignored"
    if schema.depth:
        files["depth/000000000.png …"] = "16-bit grey; depth = pixel × scale, 0 is not known"
    files["metadata.jsonl"] = "a line a sample: its files, part, labels and uncertainty"
    return files


def _snippet(schema: LabelSchema, part: Part) -> str:  # noqa: ARG001
    lines = ["import json", "import numpy as np", "from PIL import Image", "", *lines_of_scale(schema)]
    lines += ['for line in open("metadata.jsonl"):', "    row = json.loads(line)"]
    lines += ['    image = np.array(Image.open(row["file_name"]))']
    lines += lines_of_labels(schema, 'Image.open(row["mask_file_name"])', 'Image.open(row["depth_file_name"])')
    return "\n".join(lines)


PNG = Format(DatasetFormat.PNG, _members, _files, _snippet)
