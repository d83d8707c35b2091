"""What object formats call the labels: categories for the classes, and one object that has the keypoints."""

from dataclasses import dataclass

from service.label_schema import LabelSchema
from service.mirrors import points_are_silent
from workers.tars import Point

OBJECT = "object"
"""The name of what the keypoints are of."""

_BACKGROUND = "background"
_MARGIN = 0.05
"""Share of the image's side by which the box of an object reaches beyond its points."""


@dataclass(frozen=True, slots=True)
class Category:
    """A class that object formats speak of."""

    name: str
    value: int
    """In masks."""


def categories(schema: LabelSchema) -> list[Category]:
    """Every class but the first one if that is called `background`: object formats leave it unsaid."""
    entries = [Category(entry.name, value) for value, entry in enumerate(schema.classes)]
    return entries[1:] if entries and entries[0].name.lower() == _BACKGROUND else entries


def object_box(points: list[Point], side: int) -> tuple[float, float, float, float] | None:
    """left, top, width and height in pixels around the points that are in the image, with a margin; None if none is."""
    known = [(x, y) for x, y, visibility in points if visibility > 0]
    if not known:
        return None
    margin = _MARGIN * side
    left, top = (max(0.0, min(values) - margin) for values in zip(*known, strict=True))
    right, bottom = (min(float(side), max(values) + margin) for values in zip(*known, strict=True))
    return round(left, 3), round(top, 3), round(right - left, 3), round(bottom - top, 3)


def mirrored_points(schema: LabelSchema) -> list[int] | None:
    """For each keypoint, the index of the one that it becomes when an image is flipped; None if nobody knows."""
    if points_are_silent({point.name: point.mirror for point in schema.points}):
        return None
    names = [point.name for point in schema.points]
    return [names.index(point.mirror) if point.mirror else place for place, point in enumerate(schema.points)]
