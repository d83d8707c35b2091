"""The `voc` format: the folders of the Pascal VOC challenge, with masks, boxes and lists of names."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from service.label_schema import LabelSchema
from service.requests import DatasetFormat
from workers.formats.categories import Category, categories
from workers.formats.format import Description, Format, enclosed
from workers.formats.members import Member, Spool
from workers.formats.metadata import metadata_line
from workers.formats.regions import SMALLEST_REGION, Region, regions
from workers.image_files import jpeg
from workers.png import read_image, read_mask
from workers.tars import PackedSample

_HOME = "VOCdevkit/VOC2007"
"""Readers ask for a year; this is the one whose test part they know of."""


def _members(samples: Iterable[PackedSample], description: Description) -> Iterator[Member]:
    named = {entry.value: entry for entry in categories(description.schema)}
    with ExitStack() as files:
        metadata = files.enter_context(Spool())
        lists = {part: files.enter_context(Spool()) for part in description.parts}
        for sample in samples:
            part, stem = description.part(sample), sample.facts.stem
            paths = {"file_name": f"{_HOME}/JPEGImages/{stem}.jpg"}
            yield Member.of(paths["file_name"], _jpeg(sample))
            if sample.mask is not None:
                paths["mask_file_name"] = f"{_HOME}/SegmentationClass/{stem}.png"
                yield Member.of(paths["mask_file_name"], sample.mask)
                yield Member.of(f"{_HOME}/Annotations/{stem}.xml", _boxes(stem, sample.mask, named, description))
            if sample.depth is not None:
                paths["depth_file_name"] = f"{_HOME}/Depth/{stem}.png"
                yield Member.of(paths["depth_file_name"], sample.depth)
            lists[part].write(f"{stem}\n".encode())
            metadata.write(metadata_line(sample, part, description.schema, paths))
        kept = [lists[part] for part in ("train", "val") if part in lists]
        for task in ("Segmentation", "Main"):
            for part, names in lists.items():
                yield Member.of(f"{_HOME}/ImageSets/{task}/{part}.txt", names)
            yield Member.of(f"{_HOME}/ImageSets/{task}/trainval.txt", *kept)
        yield Member.of("metadata.jsonl", metadata)
    yield from enclosed(description, VOC)


def _jpeg(sample: PackedSample) -> bytes:
    """Readers of this format look for `.jpg` and nothing else."""
    return sample.image if sample.image_suffix == "jpg" else jpeg(read_image(sample.image))


def _boxes(stem: str, mask: bytes, named: dict[int, Category], description: Description) -> bytes:
    """The XML that says where things are. Pixels count from 1, and a box holds its last ones."""
    side = description.side
    root = Element("annotation")
    _add(root, folder="VOC2007", filename=f"{stem}.jpg")
    _add(SubElement(root, "source"), database=description.name)
    _add(SubElement(root, "size"), width=side, height=side, depth=3)
    _add(root, segmented=1)
    for region in regions(read_mask(mask), named):
        if region.pixels >= SMALLEST_REGION:
            _add_object(root, named[region.value].name, region, side)
    indent(root, "\t")
    return tostring(root, "unicode").encode() + b"\n"


def _add_object(root: Element, name: str, region: Region, side: int) -> None:
    left, top, right, bottom = region.box
    entry = SubElement(root, "object")
    cut = left == 0 or top == 0 or right == side or bottom == side
    _add(entry, name=name, pose="Unspecified", truncated=int(cut), difficult=0)
    _add(SubElement(entry, "bndbox"), xmin=left + 1, ymin=top + 1, xmax=right, ymax=bottom)


def _add(parent: Element, **values: str | int) -> None:
    for name, value in values.items():
        SubElement(parent, name).text = str(value)


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


def _snippet(schema: LabelSchema) -> str:  # noqa: ARG001
    return "\n".join(
        (
            "from torchvision.datasets import VOCDetection, VOCSegmentation",
            "",
            'for image, mask in VOCSegmentation(".", year="2007", image_set="train"):',
            "    assert image.size == mask.size",
            'for image, annotation in VOCDetection(".", year="2007", image_set="train"):',
            '    objects = annotation["annotation"].get("object", [])',
        )
    )


VOC = Format(DatasetFormat.VOC, _members, _files, _snippet)
