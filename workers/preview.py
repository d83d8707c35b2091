"""The first look at a dataset: samples beside their labels, and what the colours mean."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from models.labels import ImageLabels
from service.label_schema import LabelSchema
from workers.label_drawing import attribute_words, label_cells
from workers.pictures import CAPTION_LINES, LEAST_WIDTH, grid, legend, page, paragraph, side_by_side, stack
from workers.png import read_depth, read_image, read_mask
from workers.tars import PackedSample

SAMPLES = 20
"""How many samples a preview shows."""

_PICTURES_A_ROW, _SIDE = 8, 192


def preview_png(samples: Sequence[PackedSample], schema: LabelSchema, title: str) -> bytes:
    """PNG bytes of a grid of samples, each with its labels of every kind side by side."""
    entries = [_entry(sample, schema) for sample in samples]
    pictures = max(1, round(entries[0].width / _SIDE))
    board = grid(entries, max(1, _PICTURES_A_ROW // pictures))
    note = "the sample and its labels"
    if len(entries) > 1:
        note = f"the first {len(entries)} samples, each beside its labels"
    parts = [board, legend(schema.classes, max(board.width, LEAST_WIDTH))] if schema.classes else [board]
    buffer = io.BytesIO()
    page(title, note, parts).save(buffer, "PNG")
    return buffer.getvalue()


def _entry(sample: PackedSample, schema: LabelSchema) -> Image.Image:
    labels = _labels(sample, schema)
    row = side_by_side(label_cells(read_image(sample.image), labels, schema, _SIDE))
    if labels.attributes is None:
        return row
    words = attribute_words(labels.attributes.tolist(), schema)
    return stack([row, paragraph(words, row.width, most=CAPTION_LINES)])


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
