"""`keypoints.json`: images, annotations and categories as COCO writes them for keypoints."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from service.file_faults import FileFaults
from service.keypoint_files import Keypoints, listed, point_row
from service.label_schema import KeypointSchema
from service.project_spec import CheckedKeypoints, complaints_of
from service.seed_names import SeedNames
from service.strict_json import JsonRefused, load_json
from service.uploads import shown

_LAYOUT = "write it as COCO does: lists called images, annotations and categories"
_MAX_POINTS = 256
_SCHEMA: TypeAdapter[KeypointSchema] = TypeAdapter(CheckedKeypoints)


def read_coco_keypoints(
    data: bytes, seeds: SeedNames, schema: KeypointSchema | None, faults: FileFaults
) -> Keypoints | None:
    """The points in a `keypoints.json`; of `schema`, or of the file's own categories if the project says nothing.

    One category names the points, in the order in which each annotation has them; the project may have them in another
    one. Each image has exactly one annotation. Fields that say nothing about keypoints are ignored. None if it cannot
    be read, which `faults` then says.
    """
    try:
        content = load_json(data)
    except JsonRefused as refusal:
        faults.add(*refusal.args)
        return None
    if not isinstance(content, dict):
        faults.add("it is not a JSON object", _LAYOUT)
        return None
    lists = {part: _objects(content, part, faults) for part in ("images", "annotations", "categories")}
    images, annotations, categories = (lists[part] for part in ("images", "annotations", "categories"))
    if images is None or annotations is None or categories is None:
        return None
    category = _category(categories, faults)
    own = _schema_of(category, faults) if category is not None else None
    if category is None or own is None:
        return None
    names = [point.name for point in own.points]
    if schema is not None and not _same_points(names, schema, faults):
        return None
    order = [names.index(point.name) for point in (schema or own).points]
    found, sizes = _images(images, seeds, faults)
    rows = _annotations(annotations, found, category.get("id"), names, faults)
    told = {found.get(key) for key in (entry.get("image_id") for entry in annotations) if _is_id(key)}
    if missing := [name for name in seeds.all if name not in told]:
        remedy = "add one image and one annotation for each"
        faults.add(f"there is no annotation of {listed(missing)}", remedy, "annotations")
    return Keypoints(schema or own, {name: points[order] for name, points in rows.items()}, sizes)


def _objects(content: dict[str, Any], part: str, faults: FileFaults) -> list[dict[str, Any]] | None:
    value = content.get(part)
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        return value
    faults.add(f"`{part}` is {'missing' if value is None else 'not a list of objects'}", _LAYOUT, part)
    return None


def _category(categories: Sequence[dict[str, Any]], faults: FileFaults) -> dict[str, Any] | None:
    with_points = [entry for entry in categories if "keypoints" in entry]
    if len(with_points) == 1:
        return with_points[0]
    message = f"{len(with_points) or 'no'} categories have `keypoints`"
    faults.add(message, "let exactly one category name the points of its annotations", "categories")
    return None


def _schema_of(category: dict[str, Any], faults: FileFaults) -> KeypointSchema | None:
    """What the category says of the points; its skeleton counts them from 1."""
    names, lines = category["keypoints"], category.get("skeleton", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        faults.add("`keypoints` is not a list of names", "name each point", "categories.keypoints")
        return None
    if len(names) > _MAX_POINTS:
        faults.add(f"{len(names)} points are more than {_MAX_POINTS}", "leave some out", "categories.keypoints")
        return None
    numbers = range(1, len(names) + 1)
    if not isinstance(lines, list) or not all(
        isinstance(line, list) and len(line) == 2 and all(type(end) is int and end in numbers for end in line)
        for line in lines
    ):
        remedy = f"join points by their places, 1 to {len(names)}"
        faults.add("`skeleton` is not a list of pairs of places in `keypoints`", remedy, "categories.skeleton")
        return None
    skeleton = [[names[end - 1] for end in line] for line in lines]
    try:
        return _SCHEMA.validate_python({"points": names, "skeleton": skeleton})
    except ValidationError as error:
        for complaint in complaints_of(error):
            remedy = complaint.remedy or "correct it"
            faults.add(complaint.message, remedy, f"categories.{complaint.field or 'keypoints'}")
        return None


def _same_points(names: Sequence[str], schema: KeypointSchema, faults: FileFaults) -> bool:
    wanted = [point.name for point in schema.points]
    for message, some in (
        ("it lacks the points", [name for name in wanted if name not in names]),
        ("the project does not have the points", [name for name in names if name not in wanted]),
    ):
        if some:
            remedy = "name the same points in project.json and in the category"
            faults.add(f"{message} {listed(some)}", remedy, "categories.keypoints")
    return sorted(names) == sorted(wanted)


def _images(
    entries: Sequence[dict[str, Any]], seeds: SeedNames, faults: FileFaults
) -> tuple[dict[int | str, str | None], dict[str, tuple[int, int]]]:
    """id → NAME, or None where the image is not in the upload; and NAME → size where it is given."""
    found: dict[int | str, str | None] = {}
    sizes: dict[str, tuple[int, int]] = {}
    met: set[str] = set()
    for index, entry in enumerate(entries):
        where, key, file = f"images.{index}", entry.get("id"), entry.get("file_name")
        if not _is_id(key) or key in found:
            message = "is there twice" if _is_id(key) else "is not a number or a word"
            faults.add(f"the `id` of image {index} {message}", "give each image an id of its own", f"{where}.id")
            continue
        name = seeds.find(file) if isinstance(file, str) else None
        if name is None:
            told = shown(file) if isinstance(file, str) else "nothing"
            remedy = "write the name of a file in images/, or leave the entry out"
            faults.add(f"its `file_name` is {told!r}, and no image is called so", remedy, f"{where}.file_name")
        elif name in met:
            faults.add(f"{shown(name)} is there twice", "keep one entry for each image", f"{where}.file_name")
        else:
            met.add(name)
        found[key] = name
        width, height = entry.get("width"), entry.get("height")
        if width is None and height is None:
            continue
        if type(width) is not int or type(height) is not int:
            remedy = "give both as whole numbers of pixels, or neither"
            faults.add("`width` and `height` are not two numbers of pixels", remedy, where)
        elif name is not None:
            sizes[name] = (width, height)
    return found, sizes


def _annotations(
    entries: Sequence[dict[str, Any]],
    found: dict[int | str, str | None],
    category: Any,
    names: Sequence[str],
    faults: FileFaults,
) -> dict[str, npt.NDArray[np.float64]]:
    """NAME → (P, 3), in the file's own order of points."""
    rows: dict[str, npt.NDArray[np.float64]] = {}
    seen: set[int | str] = set()
    for index, entry in enumerate(entries):
        where, key = f"annotations.{index}", entry.get("image_id")
        if not _is_id(key) or key not in found:
            faults.add("its `image_id` is the id of no image", "correct it, or leave it out", f"{where}.image_id")
            continue
        name = found[key]
        if key in seen:
            told = shown(name) if name else "an image"
            faults.add(f"{told} has more than one annotation", "keep one for each image", f"{where}.image_id")
            continue
        seen.add(key)
        if entry.get("category_id", category) != category:
            remedy = "keep annotations of the category that names the points"
            faults.add("its `category_id` is another category's", remedy, f"{where}.category_id")
        points = _points(entry.get("keypoints"), names, f"{where}.keypoints", faults)
        if points is not None and name is not None:
            rows[name] = points
    return rows


def _points(flat: Any, names: Sequence[str], where: str, faults: FileFaults) -> npt.NDArray[np.float64] | None:
    if not isinstance(flat, list) or len(flat) != 3 * len(names):
        told = f"{len(flat)} numbers" if isinstance(flat, list) else "no list"
        remedy = "write x, y, v of each point, one after another"
        faults.add(f"`keypoints` is {told}, where {len(names)} points take {3 * len(names)}", remedy, where)
        return None
    wrong = list(_wrong_points(flat, names))
    for message, remedy in wrong:
        faults.add(message, remedy, where)
    if wrong:
        return None
    return np.array([point_row(float(x), float(y), int(v)) for x, y, v in zip(*[iter(flat)] * 3, strict=True)])


def _wrong_points(flat: Sequence[Any], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name, x, y, v in zip(names, flat[0::3], flat[1::3], flat[2::3], strict=True):
        if not (_is_number(x) and _is_number(y)):
            yield f"the place of {shown(name)} is not two numbers", "write plain numbers"
        if not (_is_number(v) and v in (0, 1, 2)):
            yield f"the visibility of {shown(name)} is not 0, 1 or 2", "0: not in the image, 1: hidden, 2: visible"


def _is_id(value: Any) -> TypeGuard[int | str]:
    return type(value) in (int, str)


def _is_number(value: Any) -> bool:
    """Whether it is a finite number of a size that can be a place."""
    return type(value) in (int, float) and abs(value) < 1e9
