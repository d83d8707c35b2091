"""Applying the steps of a request to one image and its labels."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.labels import ImageLabels
from service.augmentation import AugmentStep, CoarseDropout, MaskDropout
from service.label_schema import LabelSchema
from workers.augmentation.colors import ColorStep, recolor
from workers.augmentation.dropout import drop
from workers.augmentation.moves import GeometricStep, Move, move
from workers.augmentation.streams import step_streams
from workers.augmentation.warp import warp


def augment(
    image: NDArray[np.uint8],
    labels: ImageLabels,
    steps: Sequence[AugmentStep],
    schema: LabelSchema,
    random: Generator,
) -> tuple[NDArray[np.uint8], ImageLabels]:
    """The image and its labels after `steps`, in their order, each with its own probability.

    image: uint8 (H, W, 3), 2 to 32,000 pixels a side; labels: of that image, of any kinds; `schema` says what they mean
    and what is whose mirror. The result has the same shapes and types. What is given is not changed; what no step
    changed is returned as it is, not copied. Steps that move pixels and follow on each other read the image once
    only, so that it is not blurred by each of them.

    Everything random comes from `random`. A step draws from a stream that depends on its place alone, so its own
    parameters change what itself does, and nothing else.
    """
    height, width = image.shape[:2]
    moves: list[Move] = []
    for step, stream in zip(steps, step_streams(random, len(steps)), strict=True):
        if stream.random() >= step.p:
            continue
        if isinstance(step, GeometricStep):
            moves.append(move(step, height, width, stream))
            continue
        image, labels = warp(image, labels, moves, schema)
        moves = []
        if isinstance(step, ColorStep):
            image = recolor(step, image, stream)
        elif isinstance(step, MaskDropout | CoarseDropout):
            image, labels = drop(step, image, labels, stream)
    return warp(image, labels, moves, schema)
