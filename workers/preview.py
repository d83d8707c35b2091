"""The first look at a dataset: samples beside their labels, and what the colours mean."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from models.labels import ImageLabels
from service.label_schema import LabelSchema
from workers.label_drawing import attribute_words, label_cells
from workers.pictures import INK, grid, legend, page, side_by_side
from workers.png import read_depth, read_image, read_mask
from workers.tars import PackedSample
from workers.typeface import write

SAMPLES = 20
"""How many samples a preview shows."""

_PICTURES_A_ROW, _SIDE, _CAPTION = 8, 192, 22


def preview_png(samples: Sequence[PackedSample], schema: LabelSchema, title: str) -> bytes:
    """PNG bytes of a grid of samples, each with its labels of every kind side by side."""
    entries = [_entry(sample, schema) for sample in samples]
    pictures = max(1, round(entries[0].width / _SIDE))
    board = grid(entries, max(1, _PICTURES_A_ROW // pictures))
    note = "the sample and its labels"
    if len(entries) > 1:
        note = f"the first {len(entries)} samples, each beside its labels"
    parts = [board, legend(schema.classes, max(board.width, 480))] if schema.classes else [board]
    buffer = io.BytesIO()
    page(title, note, parts).save(buffer, "PNG")
    return buffer.getvalue()


def _entry(sample: PackedSample, schema: LabelSchema) -> Image.Image:
    labels = _labels(sample, schema)
    row = side_by_side(label_cells(read_image(sample.image), labels, schema, _SIDE))
    if labels.attributes is None:
        return row
    entry = Image.new("RGB", (row.width, row.height + _CAPTION), "white")
    entry.paste(row, (0, 0))
    words = attribute_words(labels.attributes.tolist(), schema)
    write(ImageDraw.Draw(entry), (0, row.height + _CAPTION // 2), words, INK, 14, anchor="lm")
    return entry


def _labels(sample: PackedSample, schema: LabelSchema) -> ImageLabels:
    facts = sample.facts
    depth = None
    if sample.depth is not None and schema.depth is not None:
        depth = read_depth(sample.depth, schema.depth.scale)
    return ImageLabels(
        mask=None if sample.mask is None else read_mask(sample.mask),
        keypoints=None if facts.keypoints is None else np.array(facts.keypoints, np.float32).reshape(-1, 3),
        depth=depth,
        attributes=None if facts.attributes is None else np.array(facts.attributes, np.int64),
    )
