"""Results as pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.quality.tables import SOURCE_NAMES, images_of
from benchmarks.quality.trial import SEEDLESS, SOURCES

COLORS = {
    "seeds": "#7f8c8d",
    "handsoff": "#2e86de",
    "handsoff_plus_seeds": "#16a085",
    "datasetgan": "#e67e22",
    "annotated_plus_seeds": "#c39bd3",
    "annotated": "#8e44ad",
    "full": "#2c3e50",
}
SIZE = (6.4, 4.0)


def _axes(title: str, size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the program's name: the same figures give the same bytes.
    figure.savefig(path, format="png", metadata={"Software": None})


def curves(result: Mapping[str, Any], path: Path) -> None:
    """mIoU against the number of seeds, a line for each source, with the spread over the draws; a level one for those
    without seeds."""
    figure, axes = _axes("segmentation: mean IoU on exact renders")
    counts = result["settings"]["counts"]
    for source in (source for source in SOURCES if source not in SEEDLESS):
        means, spreads = result["segmentation"][source], result["spread"][source]
        points = [(n, means[str(n)], spreads[str(n)]) for n in counts if means[str(n)] is not None]
        if points:
            x, y, error = zip(*points, strict=True)
            axes.errorbar(x, y, error, marker="o", capsize=3, color=COLORS[source], label=SOURCE_NAMES[source])
    for source in SEEDLESS:
        if (mean := result["segmentation"][source]) is not None:
            label = f"{images_of(source, result)} {SOURCE_NAMES[source]}"
            axes.axhline(mean, color=COLORS[source], linestyle="--", linewidth=1, label=label)
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.minorticks_off()
    axes.set_xlabel("labeled seeds")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def classes(result: Mapping[str, Any], path: Path) -> None:
    """A group of bars for each class, a bar for each source, for the most seeds."""
    most = max(result["settings"]["counts"])
    figure, axes = _axes(f"IoU of each class, {most} seeds", (9.0, 3.6))
    table = result["class_iou"]
    names, width = list(table["full"]), 0.8 / len(SOURCES)
    for place, source in enumerate(SOURCES):
        x = [at + (place - (len(SOURCES) - 1) / 2) * width for at in range(len(names))]
        heights = [table[source][name] or 0.0 for name in names]
        axes.bar(x, heights, width, color=COLORS[source], label=SOURCE_NAMES[source])
    axes.set_xticks(range(len(names)), names, fontsize=8)
    values = [value for row in table.values() for value in row.values() if value]
    axes.set_ylim(max(0.0, min(values, default=0.0) - 0.1), 1.0)
    figure.legend(frameon=False, fontsize=8, ncols=len(SOURCES), loc="outside lower center")
    _save(figure, path)


def ablation(result: Mapping[str, Any], path: Path) -> None:
    """The mIoU of each value with its spread over the draws; the usual one is marked."""
    seeds = f", {result['seeds']} seeds" if result["seeds"] else ""
    figure, axes = _axes(f"mean IoU by {result['varied']}{seeds}", (5.2, 3.2))
    rows = {label: row for label, row in result["values"].items() if row["mean"] is not None}
    for at, (label, row) in enumerate(rows.items()):
        color = COLORS["handsoff"] if label == result["usual"] else COLORS["seeds"]
        axes.errorbar([at], [row["mean"]], [row["spread"]], marker="o", capsize=4, color=color)
    axes.set_xticks(range(len(rows)), list(rows))
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_xlabel(result["varied"])
    _save(figure, path)
