"""Keypoints as clients write them, and what every way of writing them comes to."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from service.csv_table import Row, Table, read_table
from service.file_faults import FileFaults
from service.label_schema import KeypointSchema
from service.seed_names import SeedNames
from service.uploads import shown

COLUMNS = ("image", "point", "x", "y", "visibility")
MAX_BYTES = 4 * 2**20
TOLERANCE = 1.0
"""Pixels that a point may lie outside its image, as rounding puts it there."""

_NUMBER = re.compile(r"[+-]?(\d{1,32}\.?\d{0,32}|\.\d{1,32})([eE][+-]?\d{1,3})?")
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Keypoints:
    """The points of all seeds. A seed that something is wrong with is left out."""

    schema: KeypointSchema
    points: dict[str, npt.NDArray[np.float64]]
    """NAME → (P, 3): x, y in pixels of the upright image, and visibility; rows without visibility are 0, 0, 0."""
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """NAME → width and height of the image that they were drawn on, where the file says it."""


def read_keypoint_csv(data: bytes, seeds: SeedNames, schema: KeypointSchema, faults: FileFaults) -> Keypoints | None:
    """The points in a CSV of the columns `COLUMNS`, with a row for each point of each image. None if it cannot be read.

    `visibility` is 0, 1 or 2; with 0, x and y may be empty.
    """
    table = read_table(data, faults)
    if table is None or not _has_columns(table, faults):
        return None
    places = {point.name: index for index, point in enumerate(schema.points)}
    points = {name: np.full((len(places), 3), np.nan) for name in seeds.all}
    given: set[tuple[str, int]] = set()
    for row in table.rows:
        name, index = seeds.find(row.cells["image"]), places.get(row.cells["point"])
        where = f"line {row.line}"
        if name is None:
            faults.add(f"{where}: no image is called {shown(row.cells['image'])!r}", "write NAME of images/NAME", where)
        if index is None:
            remedy = "write a point that the project has"
            faults.add(f"{where}: no point is called {shown(row.cells['point'])!r}", remedy, where)
        if name is None or index is None:
            continue
        if (name, index) in given:
            message = f"{where}: {shown(name)} has {row.cells['point']} twice"
            faults.add(message, "keep one row for each point of each image", where)
        given.add((name, index))
        points[name][index] = _numbers(row, faults) or np.nan
    names = list(places)
    for name in seeds.all:
        missing = [names[index] for index in range(len(names)) if (name, index) not in given]
        if missing:
            remedy = "add a row for each; visibility 0 says that a point is not in the image"
            faults.add(f"{shown(name)} has no row for {listed(missing)}", remedy)
    return Keypoints(schema, {name: rows for name, rows in points.items() if not np.isnan(rows).any()})


def _has_columns(table: Table, faults: FileFaults) -> bool:
    if sorted(table.columns) == sorted(COLUMNS):
        return True
    message = f"its columns are {listed(table.columns)}, not {', '.join(COLUMNS)}"
    faults.add(message, f"begin with the line {','.join(COLUMNS)}", "line 1")
    return False


def _numbers(row: Row, faults: FileFaults) -> tuple[float, float, float] | None:
    where, visibility = f"line {row.line}", row.cells["visibility"]
    if visibility not in ("0", "1", "2"):
        remedy = "write 0 (not in the image), 1 (hidden) or 2 (visible)"
        faults.add(f"{where}: the visibility is {shown(visibility)!r}", remedy, where)
        return None
    place = []
    for axis in "xy":
        text = row.cells[axis]
        value = float(text) if _NUMBER.fullmatch(text) else np.inf
        if visibility == "0" and text == "":
            value = 0.0
        if not np.isfinite(value):
            faults.add(f"{where}: {axis} is {shown(text)!r}", "write a plain number, such as 31.5", where)
        place.append(value)
    return point_row(place[0], place[1], int(visibility)) if np.isfinite(place).all() else None


def point_row(x: float, y: float, visibility: int) -> tuple[float, float, float]:
    """A row of `Keypoints.points`."""
    return (x, y, visibility) if visibility else (0.0, 0.0, 0.0)


def check_points(
    name: str, keypoints: Keypoints, size: tuple[int, int], faults: FileFaults
) -> npt.NDArray[np.float64] | None:
    """The points of the seed `name`, all within its image of `size` (width, height): those that lie beyond its border
    by no more than `TOLERANCE` are moved onto it. None if the seed has none, or others lie outside."""
    points = keypoints.points.get(name)
    if points is None:
        return None
    drawn = keypoints.sizes.get(name, size)
    if drawn != size:
        message = (
            f"it says that {shown(name)} is {drawn[0]} x {drawn[1]} pixels, and the image is {size[0]} x {size[1]}"
        )
        faults.add(message, "give the points in pixels of the image as it is shown")
        return None
    places = points[:, :2]
    inside = np.clip(places, 0, size)
    far = np.flatnonzero((np.abs(places - inside) > TOLERANCE).any(axis=1))
    for index in far:
        x, y = places[index]
        message = f"{keypoints.schema.points[index].name} of {shown(name)} lies at ({x:g}, {y:g})"
        remedy = "correct it, or give it visibility 0"
        faults.add(f"{message}, outside its image of {size[0]} x {size[1]} pixels", remedy)
    return None if len(far) else np.column_stack([inside, points[:, 2]])


def check_seen(schema: KeypointSchema, points: Sequence[npt.NDArray[np.float64]], faults: FileFaults) -> None:
    """Complain of every point that is in the picture of no seed; `points` are those of each seed after the fitting."""
    for index, point in enumerate(schema.points):
        if not any(rows[index, 2] > 0 for rows in points):
            remedy = "add a seed that shows it, or leave the point out of the project"
            faults.add(f"no seed has `{point.name}` in the part of its image that is kept", remedy)


def listed(names: Iterable[str]) -> str:
    """The names in words, of many the first ones."""
    known = list(names)
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return ", ".join(shown(name) or "(nothing)" for name in known[:_LISTED]) + more
