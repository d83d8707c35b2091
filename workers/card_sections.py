"""Sections of a dataset's card: the seeds beside the samples, and what was counted about each kind of label."""

from service.label_schema import LabelSchema
from workers.tally import Histogram, Tally

_BAR = 40
"""Characters of the longest bar."""

_SEEDS = """## The seeds among them
Beside the {samples} generated images, `train` holds the project's {seeds} seeds, also those that were left out of the
fit: the labeled images themselves, fitted to the same size, with the labels that were given for them. Their files are
called `seed_0000` and so on, and their `origin` is `seed` where that of the others is `generated`; `dataset.json` has
the names they were uploaded with. They are neither augmented nor discarded, their `uncertainty` is 0 because nothing
was predicted, and no count or table of this card includes them. In `webdataset`, they lie in tars of their own,
`train-seeds-00000.tar` and so on.

Do not let them drown among the generated images: draw a share of each batch from them, such as half.{weight}
For masks it is better still to let that share grow while a network learns, from a quarter at first to all at last.

"""


_ESCAPES = str.maketrans({mark: f"\\{mark}" for mark in "\\|`["} | {"<": "&lt;"})


def escaped(text: str) -> str:
    """`text` as Markdown that shows it: it ends no cell of a table, and holds no code, link or HTML."""
    return text.translate(_ESCAPES)


def seeds_section(tally: Tally) -> str:
    """A section in Markdown about the seeds in a dataset and how to weight them; nothing where there are none."""
    if not tally.seeds:
        return ""
    factor = round(tally.parts["train"] / tally.seeds)
    weight = f" Here that is to draw each seed {factor} times as often as each generated image." if factor > 1 else ""
    return _SEEDS.format(seeds=tally.seeds, samples=tally.samples, weight=weight)


def label_sections(schema: LabelSchema, tally: Tally) -> str:
    """A section in Markdown for each label kind that the schema has, and one about uncertainty."""
    sections = [
        _classes(schema, tally) if schema.classes else "",
        _keypoints(schema, tally) if schema.keypoints else "",
        _depth(schema, tally) if schema.depth else "",
        _attributes(schema, tally) if schema.attributes else "",
        _uncertainty(tally.uncertainty, tally.mean_uncertainty(), len(schema.label_kinds)),
    ]
    return "\n".join(section for section in sections if section)


def _classes(schema: LabelSchema, tally: Tally) -> str:
    rows = [
        f"| {index} | {escaped(entry.name)} | `{entry.color}` | {coverage.pixels / max(1, tally.pixels):.2%} "
        f"| {coverage.samples / max(1, tally.samples):.1%} |\n"
        for index, (entry, coverage) in enumerate(zip(schema.classes, tally.classes, strict=True))
    ]
    ignored = tally.ignored / max(1, tally.pixels + tally.ignored)
    end = f"\nIgnored, with value 255: {ignored:.2%} of all pixels.\n" if tally.ignored else ""
    head = "## Classes\n| value | class | colour | share of pixels | samples with it |\n|---|---|---|---|---|\n"
    return head + "".join(rows) + end


def _keypoints(schema: LabelSchema, tally: Tally) -> str:
    rows = [
        f"| {escaped(point.name)} | {counts[2]} | {counts[1]} | {counts[0]} |\n"
        for point, counts in zip(schema.points, tally.points, strict=True)
    ]
    head = "## Keypoints\n| point | visible | hidden | not in the image or not known |\n|---|---|---|---|\n"
    where = "\nPixels count from the top left corner; the middle of the first one is at (0.5, 0.5).\n"
    return head + "".join(rows) + where


def _depth(schema: LabelSchema, tally: Tally) -> str:
    assert schema.depth is not None  # noqa: S101  # only then it is called
    scale, unit = schema.depth.scale, escaped(schema.depth.unit)
    told = f"## Depth\nIn {unit}: pixel × {scale:g}; pixel 0 is not known. "
    if tally.depth_steps is None:
        return told + "None is known.\n"
    least, largest = (steps * scale for steps in tally.depth_steps)
    return told + f"From {least:.4g} to {largest:.4g} {unit}.\n"


def _attributes(schema: LabelSchema, tally: Tally) -> str:
    rows = [
        f"| {escaped(attribute.name)} | {escaped(value)} | {count} |\n"
        for attribute, counts in zip(schema.attributes, tally.attributes, strict=True)
        for value, count in (dict.fromkeys(attribute.values, 0) | counts).items()
    ]
    return "## Attributes\n| attribute | value | samples |\n|---|---|---|\n" + "".join(rows)


def _uncertainty(histogram: Histogram, mean: float, kinds: int) -> str:
    highest = max(1, *histogram.counts)
    rows = []
    for place, count in enumerate(histogram.counts):
        start = histogram.first + place * histogram.width
        bar = "█" * -(-count * _BAR // highest)
        rows.append(f"{start:10.4g} – {start + histogram.width:10.4g}  {count:9d}  {bar}".rstrip() + "\n")
    unit = "The kinds of labels together; 0 is usual, more is worse" if kinds > 1 else "How much the members disagreed"
    return f"## Uncertainty\n{unit}; {mean:.4g} on average. Samples from … to:\n```\n{''.join(rows)}```\n"
