"""The `coco` format: annotations as run lengths, as polygons and as keypoints, in JSON files of COCO's form."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from pycocotools import mask as coco_mask

from service.label_schema import LabelSchema
from service.requests import DatasetFormat
from workers.formats.categories import OBJECT, categories, known_points, object_box
from workers.formats.format import Description, Format, enclosed
from workers.formats.members import Member, Spool
from workers.formats.metadata import named_attributes
from workers.formats.regions import regions
from workers.formats.runs import encode_classes
from workers.png import read_mask
from workers.split import Part
from workers.tars import PackedSample, SampleFacts

Row = dict[str, Any]

_compact = json.JSONEncoder(separators=(",", ":")).encode


class _Rows:
    """Rows of a JSON array that grows on disk."""

    def __init__(self, files: ExitStack) -> None:
        self.spool = files.enter_context(Spool())
        self._before = b""

    def add(self, rows: list[Row]) -> None:
        if rows:
            self.spool.write(self._before + _compact(rows)[1:-1].encode())
            self._before = b",\n"


class _Annotations:
    """The annotations of one part of a dataset, as they gather."""

    def __init__(self, description: Description, part: Part, files: ExitStack) -> None:
        schema = description.schema
        self._part, self._side = part, description.side
        self._info = {"description": description.name, "version": "1"}
        self._categories = categories(schema)
        self._ids = {entry.value: place for place, entry in enumerate(self._categories, start=1)}
        self._skeleton = _skeleton(schema)
        kinds = ["instances", "polygons"] if schema.classes else []
        kinds += ["keypoints"] if schema.keypoints else []
        self._images = _Rows(files)
        self._of_kind = {kind: _Rows(files) for kind in kinds or ["images"]}
        self._schema = schema
        self._last_object = 0

    def add(self, sample: PackedSample, files: dict[str, str]) -> None:
        """Take in one sample, whose files are `files` by column name."""
        facts = sample.facts
        self._images.add([self._image(facts, files)])
        if sample.mask is not None:
            self._add_classes(facts.index, sample.mask)
        if facts.keypoints is not None and self._skeleton is not None:
            self._of_kind["keypoints"].add([*self._objects(facts)])

    def members(self) -> Iterator[Member]:
        """The JSON files."""
        for kind, rows in self._of_kind.items():
            described = self._skeleton if kind == "keypoints" else self._class_rows()
            head = {"info": self._info, "licenses": [], "categories": described}
            begin = json.dumps(head)[:-1].encode()
            pieces = (begin, b',\n"images":[\n', self._images.spool, b'],\n"annotations":[\n', rows.spool, b"]}\n")
            yield Member.of(f"annotations/{kind}_{self._part}.json", *pieces)

    def _image(self, facts: SampleFacts, files: dict[str, str]) -> Row:
        row: Row = {"id": facts.index, "width": self._side, "height": self._side, **files}
        row |= {"origin": facts.origin, "source": facts.source, "version": facts.version}
        row |= {"uncertainty": round(facts.uncertainty, 6)}
        return row | ({"attributes": named_attributes(facts, self._schema)} if self._schema.attributes else {})

    def _add_classes(self, image: int, data: bytes) -> None:
        """One annotation a class that is there, twice: what a class covers is one thing, in one piece or in several."""
        mask = read_mask(data)
        lengths = {value: rle for value, rle in encode_classes(mask).items() if value in self._ids}
        outlines: dict[int, list[list[int]]] = {value: [] for value in lengths}
        for region in regions(mask, lengths):
            outlines[region.value].append(region.outline.ravel().tolist())
        areas, boxes = coco_mask.area([*lengths.values()]), coco_mask.toBbox([*lengths.values()])
        described = zip(lengths.items(), areas.tolist(), boxes.tolist(), strict=True) if lengths else ()
        instances, polygons = [], []
        for (value, rle), area, box in described:
            self._last_object += 1
            row = {"id": self._last_object, "image_id": image, "category_id": self._ids[value], "iscrowd": 0}
            row |= {"area": area, "bbox": box}
            runs = {"size": rle["size"], "counts": rle["counts"].decode()}
            instances.append(row | {"segmentation": runs})
            polygons.append(row | {"segmentation": outlines[value]})
        self._of_kind["instances"].add(instances)
        self._of_kind["polygons"].add(polygons)

    def _objects(self, facts: SampleFacts) -> Iterator[Row]:
        points = known_points(facts.keypoints or [])
        box = object_box(points, self._side)
        if box is not None:
            self._last_object += 1
            row: Row = {"id": self._last_object, "image_id": facts.index, "category_id": 1, "iscrowd": 0}
            known = sum(visibility > 0 for _, _, visibility in points)
            row |= {"area": round(box[2] * box[3], 3), "bbox": box, "num_keypoints": known}
            yield row | {"keypoints": [number for point in points for number in point]}

    def _class_rows(self) -> list[Row]:
        return [
            {"id": number, "name": entry.name, "supercategory": "", "mask_value": entry.value}
            for number, entry in enumerate(self._categories, start=1)
        ]


def _skeleton(schema: LabelSchema) -> list[Row] | None:
    """The one category that has keypoints. COCO counts them from 1."""
    if schema.keypoints is None:
        return None
    names = [point.name for point in schema.points]
    lines = [[names.index(one) + 1, names.index(other) + 1] for one, other in schema.keypoints.skeleton]
    return [{"id": 1, "name": OBJECT, "supercategory": "", "keypoints": names, "skeleton": lines}]


def _members(samples: Iterable[PackedSample], description: Description) -> Iterator[Member]:
    with ExitStack() as files:
        annotations = {part: _Annotations(description, part, files) for part in description.parts}
        for sample in samples:
            part, stem = description.part(sample), sample.facts.stem
            paths = {"file_name": f"{stem}.{sample.image_suffix}"}
            yield Member.of(f"images/{part}/{paths['file_name']}", sample.image)
            if sample.depth is not None:
                paths["depth_file_name"] = f"{stem}.png"
                yield Member.of(f"depth/{part}/{stem}.png", sample.depth)
            annotations[part].add(sample, paths)
        for part in description.parts:
            yield from annotations[part].members()
    yield from enclosed(description, COCO)


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


def _snippet(schema: LabelSchema) -> str:
    kinds = (["instances"] if schema.classes else []) + (["keypoints"] if schema.keypoints else []) or ["images"]
    lines = ["from PIL import Image", "from pycocotools.coco import COCO"]
    for kind in kinds:
        lines += ["", f'coco = COCO("annotations/{kind}_train.json")', "for entry in coco.loadImgs(coco.getImgIds()):"]
        lines.append('    image = Image.open("images/train/" + entry["file_name"])')
        if kind == "images":
            continue
        lines.append('    for annotation in coco.loadAnns(coco.getAnnIds(entry["id"])):')
        lines.append('        name = coco.cats[annotation["category_id"]]["name"]')
        get = "coco.annToMask(annotation)" if kind == "instances" else 'annotation["keypoints"]'
        lines.append(f"        {'mask' if kind == 'instances' else 'points'} = {get}")
    return "\n".join(lines)


COCO = Format(DatasetFormat.COCO, _members, _files, _snippet)
