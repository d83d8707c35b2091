"""The `voc` format: the folders of the Pascal VOC challenge, with masks, boxes and lists of names."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from service.label_schema import LabelSchema
from service.requests import DatasetFormat
from workers.formats.categories import categories
from workers.formats.format import Description, Enclosures, Format, Worked, enclosed
from workers.formats.members import Member, Spool
from workers.formats.metadata import metadata_line
from workers.formats.regions import SMALLEST_REGION, Region, regions
from workers.image_files import file_as_jpeg
from workers.png import read_mask
from workers.split import Part
from workers.tars import PackedSample

_HOME = "VOCdevkit/VOC2007"
"""Readers ask for a year; this is the one whose test part they know of."""

_HEAD = """<annotation>
\t<folder>VOC2007</folder>
\t<filename>{file}</filename>
\t<source>
\t\t<database>{dataset}</database>
\t</source>
\t<size>
\t\t<width>{side}</width>
\t\t<height>{side}</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>1</segmented>
"""
_OBJECT = """\t<object>
\t\t<name>{name}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>{cut}</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>{left}</xmin>
\t\t\t<ymin>{top}</ymin>
\t\t\t<xmax>{right}</xmax>
\t\t\t<ymax>{bottom}</ymax>
\t\t</bndbox>
\t</object>
"""


class Texts(NamedTuple):
    """What is made of one sample: the image as JPEG, where things are, and a line of metadata."""

    image: bytes
    boxes: bytes | None
    """Without a mask None."""
    metadata: bytes


@dataclass(frozen=True)
class _Work:
    """Makes the JPEG of a sample and writes about it."""

    description: Description

    @cached_property
    def named(self) -> dict[int, str]:
        """Value in masks → name of the class, as XML."""
        return {entry.value: escape(entry.name) for entry in categories(self.description.schema)}

    def __call__(self, sample: PackedSample) -> Texts:
        description = self.description
        # Readers of this format look for `.jpg` and nothing else.
        image = sample.image if sample.image_suffix == "jpg" else file_as_jpeg(sample.image)
        boxes = None if sample.mask is None else self._boxes(sample.facts.stem, read_mask(sample.mask))
        part = description.part(sample)
        return Texts(image, boxes, metadata_line(sample, part, description.schema, _pictures(sample)))

    def _boxes(self, stem: str, mask: npt.NDArray[np.uint8]) -> bytes:
        """The XML that says where things are."""
        side = self.description.side
        objects = [
            _OBJECT.format(name=self.named[region.value], **_box(region, side))
            for region in regions(mask, self.named)
            if region.pixels >= SMALLEST_REGION
        ]
        head = _HEAD.format(file=f"{stem}.jpg", dataset=escape(self.description.name), side=side)
        return f"{head}{''.join(objects)}</annotation>\n".encode()


def _box(region: Region, side: int) -> dict[str, int]:
    """Pixels count from 1, and a box holds its last ones."""
    left, top, right, bottom = region.box
    cut = left == 0 or top == 0 or right == side or bottom == side
    return {"cut": int(cut), "left": left + 1, "top": top + 1, "right": right, "bottom": bottom}


def _pictures(sample: PackedSample) -> dict[str, str]:
    """Where a sample's pictures lie, by column name of the metadata."""
    stem = sample.facts.stem
    files = {"file_name": f"{_HOME}/JPEGImages/{stem}.jpg"}
    files |= {} if sample.mask is None else {"mask_file_name": f"{_HOME}/SegmentationClass/{stem}.png"}
    return files | ({} if sample.depth is None else {"depth_file_name": f"{_HOME}/Depth/{stem}.png"})


def _members(samples: Iterable[Worked[Texts]], description: Description, enclosures: Enclosures) -> Iterator[Member]:
    with ExitStack() as files:
        metadata = files.enter_context(Spool())
        lists = {part: files.enter_context(Spool()) for part in description.parts}
        for sample, texts in samples:
            stem, paths = sample.facts.stem, _pictures(sample)
            yield Member.of(paths["file_name"], texts.image)
            if sample.mask is not None and texts.boxes is not None:
                yield Member.of(paths["mask_file_name"], sample.mask)
                yield Member.of(f"{_HOME}/Annotations/{stem}.xml", texts.boxes)
            if sample.depth is not None:
                yield Member.of(paths["depth_file_name"], sample.depth)
            lists[description.part(sample)].write(f"{stem}\n".encode())
            metadata.write(texts.metadata)
        kept = [lists[part] for part in ("train", "val") if part in lists]
        for task in ("Segmentation", "Main"):
            for part, names in lists.items():
                yield Member.of(f"{_HOME}/ImageSets/{task}/{part}.txt", names)
            yield Member.of(f"{_HOME}/ImageSets/{task}/trainval.txt", *kept)
        yield Member.of("metadata.jsonl", metadata)
    yield from enclosed(enclosures, VOC)


def _files(schema: LabelSchema) -> dict[str, str]:
    files = {
        f"{_HOME}/JPEGImages/000000000.jpg …": "the images, always as JPEG, since readers expect it",
        f"{_HOME}/SegmentationClass/000000000.png …": "8-bit palette; the pixel value is the class, 255 is void",
        f"{_HOME}/Annotations/000000000.xml …": (
            f"a box a connected region of {SMALLEST_REGION} pixels or more; a first class called `background` has none"
        ),
    }
    if schema.depth:
        files[f"{_HOME}/Depth/000000000.png …"] = "16-bit grey; depth = pixel × scale, 0 is not known"
    files[f"{_HOME}/ImageSets/Segmentation/train.txt …"] = (
        "the names in each part, and in `trainval.txt` those of train and val; the same in `ImageSets/Main`"
    )
    files["metadata.jsonl"] = "a line a sample: its files, part, labels and uncertainty"
    return files


def _snippet(schema: LabelSchema, part: Part) -> str:  # noqa: ARG001
    return "\n".join(
        (
            "from torchvision.datasets import VOCDetection, VOCSegmentation",
            "",
            f'for image, mask in VOCSegmentation(".", year="2007", image_set="{part}"):',
            "    assert image.size == mask.size",
            f'for image, annotation in VOCDetection(".", year="2007", image_set="{part}"):',
            '    objects = annotation["annotation"].get("object", [])',
            '    corners = [[int(entry["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax")]'
            " for entry in objects]",
            "    boxes = [[left - 1, top - 1, right, bottom] for left, top, right, bottom in corners]"
            "  # borders, counted from 0",
        )
    )


VOC = Format(DatasetFormat.VOC, _members, _files, _snippet, _Work, works_on_images=True)
