"""A project's label schema as the models know it: counts, and the names beside them."""

from models.fitting import LabelNames
from models.labels import LabelLayout
from service.label_schema import LabelSchema


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
