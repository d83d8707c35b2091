"""What was found, as pictures."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.generator_quality.comparison import Comparison

BINS = 40
GENERATED, RENDERS = "#2e86de", "#7f8c8d"


def areas(comparison: Comparison, path: Path) -> None:
    """A histogram of each part's area, of generated images over that of renders."""
    figure = Figure(figsize=(10.0, 4.2), dpi=120, layout="constrained")
    names = comparison.names
    for axes, (place, name) in zip(figure.subplots(2, len(names) // 2).flat, enumerate(names), strict=True):
        made, exact = (100 * seen.areas[:, place] for seen in (comparison.generated, comparison.renders))
        edges = np.linspace(0, max(made.max(), exact.max()), BINS)
        axes.hist(exact, edges, color=RENDERS, alpha=0.5, label="renders")
        axes.hist(made, edges, histtype="step", color=GENERATED, label="generated")
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right", "left"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, ncols=2, loc="outside lower center")
    figure.suptitle("share of the image that each part takes, per cent", fontsize=10, x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the program's name: the same figures give the same bytes.
    figure.savefig(path, format="png", metadata={"Software": None})
