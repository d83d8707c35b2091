"""What `metadata.jsonl` says about a sample: all that is known of it beside its pictures."""

import json
from typing import Any

from service.label_schema import LabelSchema
from workers.split import Part
from workers.tars import PackedSample, SampleFacts


def metadata_row(sample: PackedSample, part: Part, schema: LabelSchema, files: dict[str, str]) -> dict[str, Any]:
    """One row. `files` are the paths of its files by column name; kinds that the project lacks have no column."""
    facts = sample.facts
    row: dict[str, Any] = {"index": facts.index, **files, "split": part, "origin": facts.origin}
    row |= {"source": facts.source, "version": facts.version, "uncertainty": significant(facts.uncertainty)}
    row["uncertainties"] = {kind: significant(value) for kind, value in facts.kinds.items()}
    if facts.class_pixels is not None:
        names = [entry.name for entry in schema.classes]
        row["coverage"] = dict(zip(names, coverage(facts), strict=True))
    if facts.keypoints is not None:
        row["keypoints"] = facts.keypoints
    if schema.attributes:
        row["attributes"] = named_attributes(facts, schema)
    return row | {"attempts": facts.attempts, "met": facts.met}


def metadata_line(sample: PackedSample, part: Part, schema: LabelSchema, files: dict[str, str]) -> bytes:
    """One row as a line of JSON."""
    return json.dumps(metadata_row(sample, part, schema, files)).encode() + b"\n"


def significant(value: float) -> float:
    """A figure to six significant digits: those of depth are in its unit, in which all of them may be small."""
    return float(f"{value:.6g}")


def named_attributes(facts: SampleFacts, schema: LabelSchema) -> dict[str, str | None]:
    """Attribute → value, None where it is not known."""
    indices = facts.attributes or [-1] * len(schema.attributes)
    return {
        attribute.name: attribute.values[index] if index >= 0 else None
        for attribute, index in zip(schema.attributes, indices, strict=True)
    }


def coverage(facts: SampleFacts) -> list[float]:
    """Each class's share of the pixels that are of a class, rounded to six places."""
    pixels = facts.class_pixels or []
    total = max(1, sum(pixels))
    return [round(count / total, 6) for count in pixels]


def lines_of_scale(schema: LabelSchema) -> list[str]:
    """Lines of Python, which need `json`, that read from `dataset.json` what `depth_line` asks for."""
    return (
        ['scale = json.load(open("dataset.json"))["depth"]["scale"]  # its unit stands beside it']
        if schema.depth
        else []
    )


def depth_line(picture: str) -> str:
    """A line of Python that makes numbers of the depth in `picture`, in a loop after `lines_of_scale`."""
    return f"    depth = np.array({picture}) * scale  # in its unit; 0 is not known"


def lines_of_labels(schema: LabelSchema, mask: str, depth: str) -> list[str]:
    """Lines of Python that take the labels out of a `row` of the metadata; `mask` and `depth` open their pictures."""
    lines = []
    if schema.classes:
        lines.append(f"    mask = np.array({mask})  # class of each pixel; 255 is ignored")
    if schema.depth:
        lines.append(depth_line(depth))
    if schema.keypoints:
        lines.append('    keypoints = row["keypoints"]  # x, y, visibility of each point')
    if schema.attributes:
        lines.append('    attributes = row["attributes"]')
    return lines
