"""The `coco` format: annotations as run lengths, as polygons and as keypoints, in JSON files of COCO's form."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from service.label_schema import LabelSchema
from service.requests import DatasetFormat
from workers.formats.categories import OBJECT, categories, object_box
from workers.formats.format import Description, Enclosures, Format, Worked, enclosed
from workers.formats.members import Member, Spool
from workers.formats.metadata import named_attributes, significant
from workers.formats.regions import Outline, Region, regions
from workers.formats.runs import encode_classes
from workers.formats.tracing import outline_texts
from workers.png import read_mask
from workers.split import Part
from workers.tars import PackedSample, Point, SampleFacts

Row = dict[str, Any]
Rows = dict[str, bytes]
"""Of one sample, kind of annotation → rows of JSON with commas between them; and under `images` the image's own row."""

_compact = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True)
class _Work:
    """Makes the rows of a sample."""

    description: Description

    @cached_property
    def ids(self) -> dict[int, int]:
        """Value in masks → id of the category."""
        return _category_ids(self.description.schema)

    def __call__(self, sample: PackedSample) -> Rows:
        rows = {"images": _compact(self._image(sample)).encode()}
        if sample.mask is not None:
            rows |= self._classes(sample.facts.index, read_mask(sample.mask))
        if sample.facts.keypoints is not None:
            rows["keypoints"] = b"".join(self._object(sample.facts, sample.facts.keypoints))
        return rows

    def _image(self, sample: PackedSample) -> Row:
        facts, side, schema = sample.facts, self.description.side, self.description.schema
        row: Row = {"id": facts.index, "width": side, "height": side, "file_name": _image_file(sample)}
        row |= {} if sample.depth is None else {"depth_file_name": _depth_file(sample)}
        row |= {"origin": facts.origin, "source": facts.source, "version": facts.version}
        row |= {"uncertainty": significant(facts.uncertainty)}
        return row | ({"attributes": named_attributes(facts, schema)} if schema.attributes else {})

    def _classes(self, image: int, mask: npt.NDArray[np.uint8]) -> Rows:
        """One annotation a class that is there, twice: what a class covers is one thing, in one piece or in several."""
        counts = encode_classes(mask, self.ids)
        of_class: dict[int, list[Region]] = {value: [] for value in counts}
        texts: dict[int, list[str]] = {value: [] for value in counts}
        found = regions(mask, counts)
        for region, text in zip(found, _numbers([region.outline for region in found]), strict=True):
            of_class[region.value].append(region)
            texts[region.value].append(text)
        height, width = mask.shape
        instances, polygons = [], []
        for value, rle in counts.items():
            category, pieces = self.ids[value], of_class[value]
            left, top, right, bottom = _box_around(pieces)
            begin = (
                f'{{"id":{image * len(self.ids) + category},"image_id":{image},"category_id":{category},"iscrowd":0,'
                f'"area":{sum([piece.pixels for piece in pieces])},'
                f'"bbox":[{left}.0,{top}.0,{right - left}.0,{bottom - top}.0],"segmentation":'
            )
            text = rle["counts"].decode().replace("\\", "\\\\")  # of what JSON escapes, run lengths have this alone
            instances.append(f'{begin}{{"size":[{height},{width}],"counts":"{text}"}}}}')
            polygons.append(f"{begin}[[{'],['.join(texts[value])}]]}}")
        return {"instances": ",".join(instances).encode(), "polygons": ",".join(polygons).encode()}

    def _object(self, facts: SampleFacts, points: list[Point]) -> Iterator[bytes]:
        box = object_box(points, self.description.side)
        if box is not None:
            row: Row = {"id": facts.index + 1, "image_id": facts.index, "category_id": 1, "iscrowd": 0}
            known = sum(visibility > 0 for _, _, visibility in points)
            row |= {"area": round(box[2] * box[3], 3), "bbox": box, "num_keypoints": known}
            yield _compact(row | {"keypoints": [number for point in points for number in point]}).encode()


class _Array:
    """Rows of a JSON array that grows on disk."""

    def __init__(self, files: ExitStack) -> None:
        self.spool = files.enter_context(Spool())
        self._before = b""

    def add(self, rows: bytes) -> None:
        if rows:
            self.spool.write(self._before + rows)
            self._before = b",\n"


class _Annotations:
    """The annotations of one part of a dataset, as they gather."""

    def __init__(self, description: Description, part: Part, files: ExitStack) -> None:
        schema = description.schema
        self._part = part
        self._info = {"description": description.name, "version": "1"}
        kinds = ["instances", "polygons"] if schema.classes else []
        kinds += ["keypoints"] if schema.keypoints else []
        self._kinds = kinds or ["images"]
        self._arrays = {kind: _Array(files) for kind in ("images", *kinds)}
        self._schema = schema

    def add(self, rows: Rows) -> None:
        """Take in the rows of one sample."""
        for kind, of_kind in rows.items():
            self._arrays[kind].add(of_kind)

    def members(self) -> Iterator[Member]:
        """The JSON files."""
        for kind in self._kinds:
            described = _skeleton(self._schema) if kind == "keypoints" else _class_rows(self._schema)
            head = {"info": self._info, "licenses": [], "categories": described}
            begin = json.dumps(head)[:-1].encode()
            images = self._arrays["images"].spool
            rows = [] if kind == "images" else [self._arrays[kind].spool]
            between, end = b'],\n"annotations":[\n', b"]}\n"
            path = f"annotations/{kind}_{self._part}.json"
            yield Member.of(path, begin, b',\n"images":[\n', images, between, *rows, end)


def _numbers(outlines: list[Outline]) -> list[str]:
    """x and y of the corners of each outline, with commas between."""
    return outline_texts(outlines) or [",".join(map(str, outline.ravel().tolist())) for outline in outlines]


def _box_around(regions: Sequence[Region]) -> tuple[int, int, int, int]:
    lefts, tops, rights, bottoms = zip(*[region.box for region in regions], strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _category_ids(schema: LabelSchema) -> dict[int, int]:
    """Value in masks → id of the category. COCO counts them from 1."""
    return {entry.value: number for number, entry in enumerate(categories(schema), start=1)}


def _class_rows(schema: LabelSchema) -> list[Row]:
    ids = _category_ids(schema)
    return [
        {"id": ids[entry.value], "name": entry.name, "supercategory": "", "mask_value": entry.value}
        for entry in categories(schema)
    ]


def _skeleton(schema: LabelSchema) -> list[Row]:
    """The one category that has keypoints. COCO counts them from 1."""
    names = [point.name for point in schema.points]
    joined = schema.keypoints.skeleton if schema.keypoints else []
    lines = [[names.index(one) + 1, names.index(other) + 1] for one, other in joined]
    return [{"id": 1, "name": OBJECT, "supercategory": "", "keypoints": names, "skeleton": lines}]


def _image_file(sample: PackedSample) -> str:
    return f"{sample.facts.stem}.{sample.image_suffix}"


def _depth_file(sample: PackedSample) -> str:
    return f"{sample.facts.stem}.png"


def _members(samples: Iterable[Worked[Rows]], description: Description, enclosures: Enclosures) -> Iterator[Member]:
    with ExitStack() as files:
        annotations = {part: _Annotations(description, part, files) for part in description.parts}
        for sample, rows in samples:
            part = description.part(sample)
            yield Member.of(f"images/{part}/{_image_file(sample)}", sample.image)
            if sample.depth is not None:
                yield Member.of(f"depth/{part}/{_depth_file(sample)}", sample.depth)
            annotations[part].add(rows)
        for part in description.parts:
            yield from annotations[part].members()
    yield from enclosed(enclosures, COCO)


def _files(schema: LabelSchema) -> dict[str, str]:
    files = {"images/train/000000000.png …": "the images of each part"}
    if schema.depth:
        files["depth/train/000000000.png …"] = "16-bit grey; depth = pixel × scale, 0 is not known"
    if schema.classes:
        files["annotations/instances_train.json …"] = (
            "an annotation a class and image, as run lengths (RLE), exact. `mask_value` of a category is its "
            "value in a mask; a first class called `background` and ignored pixels are in no annotation"
        )
        files["annotations/polygons_train.json …"] = "the same as polygons along the borders of the pixels"
    if schema.keypoints:
        files["annotations/keypoints_train.json …"] = (
            "an object an image with its keypoints; its box is that of the points, widened by a twentieth of the image"
        )
    if not (schema.classes or schema.keypoints):
        files["annotations/images_train.json …"] = "the images; their attributes stand with them, as everywhere"
    return files


def _snippet(schema: LabelSchema, part: Part) -> str:
    kinds = (["instances"] if schema.classes else []) + (["keypoints"] if schema.keypoints else []) or ["images"]
    lines = ["from PIL import Image", "from pycocotools.coco import COCO"]
    for kind in kinds:
        lines += ["", f'coco = COCO("annotations/{kind}_{part}.json")', "for entry in coco.loadImgs(coco.getImgIds()):"]
        lines.append(f'    image = Image.open("images/{part}/" + entry["file_name"])')
        if kind == "images":
            continue
        lines.append('    for annotation in coco.loadAnns(coco.getAnnIds(entry["id"])):')
        lines.append('        name = coco.cats[annotation["category_id"]]["name"]')
        get = "coco.annToMask(annotation)" if kind == "instances" else 'annotation["keypoints"]'
        lines.append(f"        {'mask' if kind == 'instances' else 'points'} = {get}")
    return "\n".join(lines)


COCO = Format(DatasetFormat.COCO, _members, _files, _snippet, _Work)
