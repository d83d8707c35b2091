"""A project's label schema as the models know it: counts, and the names beside them."""

from collections.abc import Sequence

from models.fitting import LabelNames
from models.labels import LabelLayout, LabelMirror
from service.label_schema import LabelSchema
from service.mirrors import points_are_silent, speaks_of_a_side


def layout_of(schema: LabelSchema) -> LabelLayout:
    """Which labels there are, as counts."""
    depth = schema.depth
    return LabelLayout(
        classes=len(schema.classes),
        points=len(schema.points),
        depth=None if depth is None else (depth.minimum, depth.maximum),
        attributes=tuple(len(attribute.values) for attribute in schema.attributes),
    )


def names_of(schema: LabelSchema) -> LabelNames:
    """What is counted there, by name."""
    return LabelNames(
        classes=tuple(entry.name for entry in schema.classes),
        points=tuple(point.name for point in schema.points),
        attributes=tuple((attribute.name, tuple(attribute.values)) for attribute in schema.attributes),
    )


def mirror_of(schema: LabelSchema) -> LabelMirror:
    """What labels of the schema become in a flipped image, as its `mirror` fields say; what has none stays."""
    values = [
        _order([(value, dict(attribute.mirror).get(value)) for value in attribute.values])
        for attribute in schema.attributes
    ]
    return LabelMirror(
        _order([(item.name, item.mirror) for item in schema.classes]),
        _order([(point.name, point.mirror) for point in schema.points]),
        tuple(values),
    )


def has_silent_sides(schema: LabelSchema) -> bool:
    """Whether nobody knows what the labels of a flipped image are: a name speaks of a side, and the schema does not say
    what it becomes; or there are several keypoints, and of none it is said."""
    if points_are_silent({point.name: point.mirror for point in schema.points}):
        return True
    lists = [{item.name: item.mirror for item in schema.classes}]
    for attribute in schema.attributes:
        both = dict([*attribute.mirror, *((b, a) for a, b in attribute.mirror)])
        lists.append({value: both.get(value) for value in attribute.values})
    return any(mirror is None and speaks_of_a_side(name) for mirrors in lists for name, mirror in mirrors.items())


def _order(names: Sequence[tuple[str, str | None]]) -> tuple[int, ...]:
    """For each (name, mirror), the index of its mirror. Either of a pair may name the other."""
    places = {name: place for place, (name, _) in enumerate(names)}
    order = list(range(len(names)))
    for place, (_, mirror) in enumerate(names):
        if mirror is not None:
            order[place], order[places[mirror]] = places[mirror], place
    return tuple(order)
