"""Labels of every kind as pictures for people."""

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.labels import ImageLabels
from service.label_schema import DepthSchema, LabelSchema
from workers.pictures import cell, overlay

_LINE = (255, 255, 255)
_UNKNOWN = (120, 40, 120)
_NEAR, _FAR = np.array((255, 244, 190), np.float32), np.array((18, 32, 64), np.float32)


def label_cells(
    image: NDArray[np.uint8], labels: ImageLabels, schema: LabelSchema, side: int, plain: bool = True
) -> list[Image.Image]:
    """Pictures of about `side` pixels: the image, (H, W, 3), unless `plain` is off; with its classes; with its points;
    and its depth; as many of them as there are labels."""
    cells = [cell(image, side)] if plain else []
    if labels.mask is not None:
        cells.append(overlay(image, labels.mask, schema.classes, side))
    if labels.keypoints is not None:
        cells.append(points_cell(image, labels.keypoints, schema, side))
    if labels.depth is not None and schema.depth is not None:
        cells.append(depth_cell(labels.depth, schema.depth, side))
    return cells


def points_cell(
    image: NDArray[np.uint8], keypoints: NDArray[np.float32], schema: LabelSchema, side: int
) -> Image.Image:
    """The image, (H, W, 3), with its points, (P, 3): visible ones as discs, hidden ones as rings, joined as the schema
    says."""
    picture = cell(image, side).point(lambda level: level * 0.6)
    factor = picture.width / image.shape[1]
    draw = ImageDraw.Draw(picture)
    places = {
        point.name: (x * factor, y * factor, visibility)
        for point, (x, y, visibility) in zip(schema.points, keypoints.tolist(), strict=True)
        if visibility > 0
    }
    for one, other in schema.keypoints.skeleton if schema.keypoints else ():
        if one in places and other in places:
            draw.line((*places[one][:2], *places[other][:2]), fill=_LINE, width=max(1, side // 96))
    radius = max(2, side // 48)
    for number, point in enumerate(schema.points):
        if point.name in places:
            x, y, visibility = places[point.name]
            box = (x - radius, y - radius, x + radius, y + radius)
            color = _hue(number, len(schema.points))
            fill, outline = (color, _LINE) if visibility > 1 else (None, color)
            draw.ellipse(box, fill=fill, outline=outline, width=1)
    return picture


def depth_cell(depth: NDArray[np.float32], schema: DepthSchema, side: int) -> Image.Image:
    """Depth, (H, W), from light (near) to dark (far) over the range of the seeds; violet where it is not known."""
    span = max(schema.maximum - schema.minimum, schema.scale)
    share = np.clip((np.nan_to_num(depth) - schema.minimum) / span, 0, 1)[..., None].astype(np.float32)
    colors = _NEAR + share * (_FAR - _NEAR)
    colors[np.isnan(depth)] = _UNKNOWN
    return cell(colors.round().astype(np.uint8), side)


def attribute_words(attributes: Sequence[int], schema: LabelSchema) -> str:
    """The values of the attributes, such as `panda, sitting`; those not known are left out."""
    described = zip(schema.attributes, attributes, strict=True)
    return ", ".join(attribute.values[index] for attribute, index in described if index >= 0)


def _hue(number: int, count: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(number / count, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
