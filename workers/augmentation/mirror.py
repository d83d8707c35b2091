"""What becomes of names when an image is flipped left to right."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.labels import ImageLabels
from service.label_schema import LabelSchema


def swap_names(labels: ImageLabels, schema: LabelSchema) -> ImageLabels:
    """`labels` of a flipped image with left and right swapped in them, as the schema's `mirror` fields say.

    The labels must already lie where the flipped image has them.
    """
    mask, keypoints, attributes = labels.mask, labels.keypoints, labels.attributes
    if mask is not None:
        names = [(entry.name, entry.mirror) for entry in schema.classes]
        table = np.arange(256, dtype=np.uint8)
        table[: len(names)] = swapped(names)
        mask = table[mask]
    if keypoints is not None:
        keypoints = keypoints[swapped([(point.name, point.mirror) for point in schema.points])]
    if attributes is not None:
        attributes = attributes.copy()
        for place, attribute in enumerate(schema.attributes):
            mirrors = dict(attribute.mirror)
            order = swapped([(value, mirrors.get(value)) for value in attribute.values])
            if attributes[place] >= 0:
                attributes[place] = order[attributes[place]]
    return ImageLabels(mask, keypoints, labels.depth, attributes)


def swapped(names: Sequence[tuple[str, str | None]]) -> NDArray[np.int64]:
    """For each (name, mirror), the index of its mirror: int64 (N,). Either of a pair may name the other."""
    places = {name: place for place, (name, _) in enumerate(names)}
    order = np.arange(len(names))
    for place, (_, mirror) in enumerate(names):
        if mirror is not None:
            order[place], order[places[mirror]] = places[mirror], place
    return order
