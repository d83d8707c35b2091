"""Images and labels that tell of each place where it is, and a schema for them."""

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from models.labels import ImageLabels
from service.augmentation import AugmentStep
from service.label_schema import Attribute, DepthSchema, Keypoint, KeypointSchema, LabelClass, LabelSchema
from workers.augmentation import augment, sample_random

SIDE = 64
STEPS = TypeAdapter(list[AugmentStep])

SCHEMA = LabelSchema(
    classes=[
        LabelClass(name="ground", color="#000000"),
        LabelClass(name="left ear", color="#ff0000", mirror="right ear"),
        LabelClass(name="right ear", color="#00ff00", mirror="left ear"),
        LabelClass(name="nose", color="#0000ff"),
    ],
    keypoints=KeypointSchema(
        points=[
            Keypoint(name="left eye", mirror="right eye"),
            Keypoint(name="nose"),
            Keypoint(name="right eye", mirror="left eye"),
        ]
    ),
    depth=DepthSchema(scale=0.001, minimum=0.0, maximum=64.0),
    attributes=[
        Attribute(name="species", values=["panda", "koala"]),
        Attribute(name="looks", values=["left", "ahead", "right"], mirror=[("left", "right")]),
    ],
)


def places(side: int = SIDE) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of each pixel's centre."""
    y, x = np.mgrid[:side, :side] + 0.5
    return x, y


def picture() -> NDArray[np.uint8]:
    """Red is four times x and green four times y, so that colours between pixels tell places between them."""
    x, y = places()
    return np.stack([4 * x, 4 * y, np.full_like(x, 128)], axis=-1).astype(np.uint8)


def squares() -> NDArray[np.uint8]:
    """A mask of squares of 8 pixels, of class 0 to 3."""
    x, y = places()
    return ((x // 8 + 3 * (y // 8)) % 4).astype(np.uint8)


def spread_points(random: np.random.Generator, count: int = 3) -> NDArray[np.float32]:
    """Visible points, none of them near the edges."""
    return np.column_stack([random.uniform(4, SIDE - 4, (count, 2)), np.full(count, 2)]).astype(np.float32)


def steps(*wanted: dict[str, object]) -> list[AugmentStep]:
    """Steps as a request names them."""
    return STEPS.validate_python(list(wanted))


def sources(chosen: list[AugmentStep], seed: int, side: int = SIDE) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each pixel comes from, told by depth that is x, or y, of each place; NaN outside."""
    x, y = places(side)
    blank = np.zeros((side, side, 3), np.uint8)
    found = [
        augment(blank, ImageLabels(depth=depth.astype(np.float32)), chosen, SCHEMA, sample_random(seed, 0, 0))[1].depth
        for depth in (x, y)
    ]
    assert found[0] is not None and found[1] is not None
    return found[0].astype(np.float64), found[1].astype(np.float64)


def between(values: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` (H, W) at points (N, 2), bilinear in float64, one by one."""
    found = []
    for x, y in points - 0.5:
        column, row = min(max(int(x), 0), values.shape[1] - 2), min(max(int(y), 0), values.shape[0] - 2)
        right, down = x - column, y - row
        above = values[row, column] * (1 - right) + values[row, column + 1] * right
        below = values[row + 1, column] * (1 - right) + values[row + 1, column + 1] * right
        found.append(above * (1 - down) + below * down)
    return np.array(found)
