"""How near generated bears are to rendered ones: `python -m benchmarks.generator_quality`.

Two networks learn from exact renders what the parts of a bear are and what its species is. What they see in generated
images is compared with what they see in renders that they did not learn from: the distances of their features, the
histogram of the area of each part, and the shares of the species. Next to each figure stands its floor: the same of two
sets of renders. The last line is one JSON object.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.bear_domains import add_bears, domain_of, generator_of
from benchmarks.generator_quality import plots
from benchmarks.generator_quality.comparison import Comparison
from benchmarks.generator_quality.judges import Judges
from benchmarks.quality.data import TEST_SEED, rendered
from benchmarks.quality.sources import random_images
from models.bundle import load_bundle
from models.pictures import grid, save_png
from models.provenance import describe_device

SHOWN = 64
GENERATED_SEED = 500_000
console = Console(stderr=True)


def table(facts: dict[str, Any]) -> Table:
    """The figures for a reader."""
    table = Table(title=f"Fréchet distance {facts['frechet']}, of renders {facts['frechet_floor']}")
    for heading in ("part", "area %", "of renders", "distance", "floor", "present", "in renders"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for name, part in facts["parts"].items():
        table.add_row(name, *(f"{value:.3f}" for value in part.values()))
    for name, share in facts["species"].items():
        table.add_row(f"[italic]{name}", *[""] * 4, *(f"{value:.3f}" for value in share.values()))
    return table


def main() -> None:
    """Teach, look and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_bears(parser)
    parser.add_argument("--images", type=int, default=5_000, help="generated ones, and renders of either set")
    parser.add_argument("--lessons", type=int, default=8_000, help="exact renders that the networks learn from")
    parser.add_argument("--steps", type=int, default=1_500, help="of either network, 16 images each")
    parser.add_argument("--pictures", type=Path, help="folder for histograms and a sheet of either kind of image")
    arguments = parser.parse_args()
    started = time.perf_counter()
    domain, bundle = domain_of(arguments), load_bundle(generator_of(arguments), torch.device("cpu"))
    side, count = bundle.resolution, arguments.images
    with console.status("teaching two networks from exact renders"):
        judges = Judges.taught(arguments.lessons, arguments.steps, side, domain)
    with console.status("looking at renders and at generated images"):
        exact = rendered(range(TEST_SEED, TEST_SEED + count), side, domain)
        others = rendered(range(TEST_SEED + count, TEST_SEED + 2 * count), side, domain)
        made = random_images(bundle, count, GENERATED_SEED)[1]
        comparison = Comparison(judges.see(made), judges.see(exact.images), judges.see(others.images), domain.parts)
    facts = comparison.facts()
    console.print(table(facts))
    if arguments.pictures:
        plots.areas(comparison, arguments.pictures / "generator-areas.png")
        for name, images in (("generated", made), ("renders", exact.images)):
            save_png(arguments.pictures / f"generator-{name}.png", grid(images[:SHOWN], 16))
    mean_iou, accuracy = judges.check(exact)
    about = {
        "bears": domain.name,
        "images": count,
        "judge_mean_iou": round(mean_iou, 4),
        "judge_species_accuracy": round(accuracy, 4),
    }
    about |= {"seconds": round(time.perf_counter() - started, 1)}
    print(json.dumps(facts | about | {"device": describe_device(bundle.device)}))


if __name__ == "__main__":
    main()
