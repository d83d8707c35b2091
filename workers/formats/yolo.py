"""The `yolo` format: outlines and poses as lines of numbers beside the images, as Ultralytics reads them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from service.label_schema import LabelSchema
from service.requests import DatasetFormat
from workers.formats.categories import OBJECT, categories, mirrored_points, object_box
from workers.formats.format import Description, Enclosures, Format, Worked, enclosed
from workers.formats.insets import drawn_in
from workers.formats.members import Member, Spool
from workers.formats.metadata import metadata_line
from workers.formats.regions import SMALLEST_REGION, regions
from workers.png import read_mask
from workers.split import Part
from workers.tars import PackedSample, Point

_DIGITS = 6
_INSET = 1e-5
"""Share of the image's side by which corners lie inside their regions: more than what rounding moves, and less than a
pixel at any size."""


class Texts(NamedTuple):
    """What is written about one sample. None: nothing of this sort."""

    outlines: bytes | None
    pose: bytes | None
    metadata: bytes


@dataclass(frozen=True)
class _Work:
    """Writes about a sample."""

    description: Description

    @cached_property
    def numbers(self) -> dict[int, int]:
        """Value in masks → number of the class."""
        return {entry.value: number for number, entry in enumerate(categories(self.description.schema))}

    @cached_property
    def shares(self) -> list[str]:
        """Every coordinate that a corner may have, as a share of the image's side, by the numbers of `drawn_in`."""
        side = self.description.side
        moved = [corner / side + inset for corner in range(side + 1) for inset in (-_INSET, _INSET)]
        return [f"{share:.{_DIGITS}f}".rstrip("0") for share in moved]

    def __call__(self, sample: PackedSample) -> Texts:
        description = self.description
        outlines = None if sample.mask is None else self._outlines(sample.mask)
        points = sample.facts.keypoints
        pose = None if points is None else _pose(points, description.side)
        part = description.part(sample)
        return Texts(outlines, pose, metadata_line(sample, part, description.schema, _pictures(sample, part)))

    def _outlines(self, data: bytes) -> bytes:
        """A line a region: the class, and x and y of each corner as shares of the image's side."""
        mask = read_mask(data)
        found = [region for region in regions(mask, self.numbers) if region.pixels >= SMALLEST_REGION]
        lines = [
            f"{self.numbers[region.value]} {' '.join(map(self.shares.__getitem__, corners.ravel().tolist()))}\n"
            for region, corners in zip(found, drawn_in(mask, found), strict=True)
        ]
        return "".join(lines).encode()


def _pictures(sample: PackedSample, part: Part) -> dict[str, str]:
    """Where a sample's pictures lie, by column name of the metadata."""
    stem = sample.facts.stem
    files = {"file_name": f"images/{part}/{stem}.{sample.image_suffix}"}
    return files | ({} if sample.depth is None else {"depth_file_name": f"depth/{part}/{stem}.png"})


def _members(samples: Iterable[Worked[Texts]], description: Description, enclosures: Enclosures) -> Iterator[Member]:
    schema = description.schema
    poses = _pose_folder(schema)
    seen: set[Part] = set()
    with Spool() as metadata:
        for sample, texts in samples:
            part, stem = description.part(sample), sample.facts.stem
            seen.add(part)
            files = _pictures(sample, part)
            yield Member.of(files["file_name"], sample.image)
            if sample.depth is not None:
                yield Member.of(files["depth_file_name"], sample.depth)
            if texts.outlines is not None:
                yield Member.of(f"labels/{part}/{stem}.txt", texts.outlines)
            if texts.pose is not None:
                yield Member.of(f"{poses}/{part}/{stem}.txt", texts.pose)
            metadata.write(texts.metadata)
        yield Member.of("metadata.jsonl", metadata)
    # A small dataset may have no image for a small share, and a part without images ends the training that names it.
    parts = tuple(part for part in description.parts if part in seen)
    if schema.classes:
        yield Member.of("data.yaml", _yaml([entry.name for entry in categories(schema)], parts))
    if schema.keypoints:
        yield Member.of(f"{_pose_yaml(schema)}", _yaml([OBJECT], parts, schema))
    yield from enclosed(enclosures, YOLO)


def _pose_folder(schema: LabelSchema) -> str:
    """Images have one folder of labels in this layout; where there are two sorts, one waits under another name."""
    return "labels-pose" if schema.classes else "labels"


def _pose_yaml(schema: LabelSchema) -> str:
    return "data-pose.yaml" if schema.classes else "data.yaml"


def _pose(points: list[Point], side: int) -> bytes:
    """One line: the class, middle and size of the box, and x, y and visibility of each point. Empty without points."""
    box = object_box(points, side)
    if box is None:
        return b""
    left, top, width, height = box
    numbers = [left + width / 2, top + height / 2, width, height]
    parts = [f"{number / side:.{_DIGITS}f}" for number in numbers]
    for x, y, visibility in points:
        parts += [f"{x / side:.{_DIGITS}f}", f"{y / side:.{_DIGITS}f}", str(visibility)]
    return f"0 {' '.join(parts)}\n".encode()


def _yaml(names: list[str], parts: tuple[Part, ...], poses: LabelSchema | None = None) -> bytes:
    """data.yaml. Values are JSON, which YAML contains but for its pairs of escapes, so that no name needs care."""
    # Training asks for both; where nothing was kept for validation, it validates on what it has seen.
    folders = {"train": parts[0], "val": parts[0]} | {part: part for part in parts}
    lines = [f"{part}: images/{folder}" for part, folder in folders.items()]
    lines += ["names:", *(f"  {number}: {_json(name)}" for number, name in enumerate(names))]
    if poses is not None:
        lines.append(f"kpt_shape: [{len(poses.points)}, 3]")
        # Without it training flips no image; with a wrong one it learns points on the wrong side.
        if (order := mirrored_points(poses)) is not None:
            lines.append(f"flip_idx: {order}")
        lines.append(f"kpt_names: {{0: {_json([point.name for point in poses.points])}}}")
    return "".join(f"{line}\n" for line in lines).encode()


def _json(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _files(schema: LabelSchema) -> dict[str, str]:
    files = {"images/train/000000000.png …": "the images of each part"}
    if schema.classes:
        files["labels/train/000000000.txt …"] = (
            "a line a connected region: class, and x and y of its corners as shares of the image's side. Holes are "
            f"part of the outline. Regions of fewer than {SMALLEST_REGION} pixels, ignored pixels and a first class "
            "called `background` are left out"
        )
        files["data.yaml"] = "parts and classes, for training a segmentation model"
        if any(entry.mirror for entry in schema.classes):
            files["data.yaml"] += (
                ". Train with `fliplr=0`: Ultralytics flips half of the images unless told otherwise, and does not "
                "exchange left and right classes. `HorizontalFlip` in `augment` does"
            )
    if schema.keypoints:
        files[f"{_pose_folder(schema)}/train/000000000.txt …"] = (
            "a line an image: class 0, the points' box widened by a twentieth of the image, and the points"
        )
        files[_pose_yaml(schema)] = "the same for a pose model"
        if mirrored_points(schema) is None:
            files[_pose_yaml(schema)] += (
                ". It has no `flip_idx`, without which Ultralytics flips no image: the project does not say by "
                "`mirror` which points exchange left and right"
            )
    if schema.classes and schema.keypoints:
        files["labels-pose/"] = "rename it to `labels` (and that to something else) to train a pose model"
    if schema.depth:
        files["depth/train/000000000.png …"] = "16-bit grey; depth = pixel × scale, 0 is not known"
    files["metadata.jsonl"] = "a line a sample: its files, part, labels and uncertainty"
    return files


def _snippet(schema: LabelSchema, part: Part) -> str:
    lines = ["from pathlib import Path", ""]
    if schema.classes:
        lines += [f'for path in sorted(Path("labels/{part}").glob("*.txt")):', "    for line in path.open():"]
        lines += ["        number, *corners = line.split()"]
        lines += ["        outline = [(float(x), float(y)) for x, y in zip(corners[::2], corners[1::2])]"]
    if schema.keypoints:
        lines += [f'for path in sorted(Path("{_pose_folder(schema)}/{part}").glob("*.txt")):']
        lines += ["    for line in path.open():"]
        lines += ["        number, x, y, width, height, *points = map(float, line.split())"]
        lines += ["        points = list(zip(points[::3], points[1::3], points[2::3]))"]
    return "\n".join(lines)


YOLO = Format(DatasetFormat.YOLO, _members, _files, _snippet, _Work)
