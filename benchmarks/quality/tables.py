"""Results as Markdown tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.quality.trial import SEEDLESS, SOURCES, Source

SOURCE_NAMES = {
    "seeds": "the seeds alone",
    "handsoff": "data set",
    "handsoff_plus_seeds": "data set and seeds",
    "datasetgan": "DatasetGAN's way",
    "annotated_plus_seeds": "annotated samples and seeds",
    "annotated": "annotated samples",
    "full": "exact labels",
}

FIGURE_NAMES = {
    "keypoints_pck": "keypoints, PCK@0.1",
    "depth_abs_rel": "depth, relative error",
    "depth_rmse": "depth, RMSE",
    "class_accuracy": "class, accuracy",
}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column is text, the others are figures."""
    lines = [_line(head), _line(["---", *("---:" for _ in head[1:])]), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def figure(mean: float | None, spread: float | None = None, signed: bool = False) -> str:
    """A figure with three decimals and its spread, if it has one; a dash for None."""
    if mean is None:
        return "–"
    text = f"{mean:+.3f}" if signed else f"{mean:.3f}"
    return f"{text} ± {spread:.3f}" if spread else text


def segmentation_table(result: Mapping[str, Any]) -> str:
    """mIoU: a row for each source, a column for each number of seeds."""
    counts = [str(count) for count in result["settings"]["counts"]]
    means, spreads = result["segmentation"], result["spread"]
    rows = [
        [SOURCE_NAMES[source], *(figure(means[source][n], spreads[source][n]) for n in counts)]
        for source in SOURCES
        if source not in SEEDLESS
    ]
    for source in SEEDLESS:
        always = figure(means[source], spreads[source])
        rows.append([f"{images_of(source, result)} {SOURCE_NAMES[source]}", *(always for _ in counts)])
    return markdown(["mIoU", *(f"{n} seeds" for n in counts)], rows)


def images_of(source: Source, result: Mapping[str, Any]) -> str:
    """How many images a source without seeds has."""
    settings = result["settings"]
    return f"{settings['full'] if source == 'full' else settings['sampling']['count']:,}"


def classes_table(result: Mapping[str, Any]) -> str:
    """IoU: a row for each class, a column for each source, for the most seeds."""
    table = result["class_iou"]
    rows = [[name, *(figure(table[source][name]) for source in SOURCES)] for name in table["full"]]
    return markdown(["IoU", *(SOURCE_NAMES[source] for source in SOURCES)], rows)


def kinds_table(result: Mapping[str, Any]) -> str:
    """The figures of the other kinds: a row for each, a column for each source, for the most seeds."""
    sources = [source for source in SOURCES if source in next(iter(result["kinds"].values()))]
    rows = [
        [FIGURE_NAMES[name], *(figure(row[source]["mean"], row[source]["spread"]) for source in sources)]
        for name, row in result["kinds"].items()
    ]
    return markdown(["", *(SOURCE_NAMES[source] for source in sources)], rows)


def bars_table(result: Mapping[str, Any]) -> str:
    """Targets: what was asked for, what was reached."""
    rows = [
        [_bar_name(name), f"{bar['target']:g}", _reached(bar["reached"]), _met(bar)]
        for name, bar in result["bars"].items()
    ]
    return markdown(["target", "asked for", "reached", "met"], rows)


def _reached(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _met(bar: Mapping[str, Any]) -> str:
    if bar["reached"] is None:
        return "not measured"
    return "yes" if bar["met"] else "**no**"


def _bar_name(name: str) -> str:
    words, _, count = name.rpartition("_")
    if not count.isdigit():
        return {"fit_s": "seconds of a fit"}.get(name) or FIGURE_NAMES[name]
    told = {
        "gain_over_seeds": "mIoU above the seeds alone",
        "gain_over_datasetgan": "mIoU above DatasetGAN's way",
        "share_of_full": "share of the mIoU of exact labels",
    }
    return f"{told[words]}, {count} seeds"


def ablation_table(result: Mapping[str, Any]) -> str:
    """A row for each value: its mIoU, how much that is above the usual value on the same draws, and the inversions."""
    rows = [
        [
            f"**{label}**" if label == result["usual"] else label,
            figure(row["mean"], row["spread"]),
            "" if label == result["usual"] else figure(row["gain"], row["gain_spread"], signed=True),
            "–" if row["psnr_db"] is None else f"{row['psnr_db']:.1f} dB",
        ]
        for label, row in result["values"].items()
    ]
    return markdown([result["varied"], "mIoU", f"against {result['usual']}", "PSNR of the seeds"], rows)
