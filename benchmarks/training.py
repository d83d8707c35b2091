"""How fast generators train: `python -m benchmarks.training --resolutions 64 256 --device cpu`.

Networks and settings are the defaults of each resolution. A step with the gradient penalty and one without are timed
apart, and weighed as they occur. Images are noise: their content costs nothing.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from models.device import choose_device
from models.distances.features import choose_features
from models.provenance import describe_device
from models.training.evaluation import Evaluator, default_samples
from models.training.images import TrainingImages
from models.training.settings import TrainingPlan, plan_for
from models.training.trainer import LAZY_R1, Trainer

P = 0.5
"""Probability of augmentations that the timed steps use: about where ADA ends up on a few thousand images."""


@dataclass(frozen=True)
class Seconds:
    """wall: by the clock. processor: of all threads together, which other programs on the machine hardly change."""

    wall: float
    processor: float

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall + other.wall, self.processor + other.processor)

    def __mul__(self, factor: float) -> "Seconds":
        return Seconds(self.wall * factor, self.processor * factor)


def seconds_of(work: Callable[[], object], device: torch.device, budget: float) -> Seconds:
    """Median over as many calls as fit into `budget` seconds; the first is left out, unless it filled them alone."""
    times: list[Seconds] = []
    while len(times) < 2 or sum(t.wall for t in times) < budget:
        wall, processor = time.perf_counter(), time.process_time()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(Seconds(time.perf_counter() - wall, time.process_time() - processor))
        if times[0].wall > budget:
            return times[0]
    return Seconds(median(t.wall for t in times[1:]), median(t.processor for t in times[1:]))


def seconds_per_image(plan: TrainingPlan, p: float, device: torch.device, budget: float, folder: Path) -> Seconds:
    """Of training alone, at a fixed probability of augmentations."""
    side = plan.architecture.resolution
    images = np.random.default_rng(0).integers(0, 256, (64, side, side, 3), dtype=np.uint8)
    settings = replace(plan.settings, augment="fixed", augment_p=p)
    trainer = Trainer(folder, plan.architecture, settings, images, str(device))
    plain = seconds_of(lambda: trainer._step(1), device, budget)
    penalised = seconds_of(lambda: trainer._step(0), device, budget)
    return (plain * (LAZY_R1 - 1) + penalised) * (1 / LAZY_R1 / settings.batch)


def evaluation_seconds(plan: TrainingPlan, device: torch.device, folder: Path) -> float:
    """Of one evaluation with the default number of samples, from one with few."""
    side, few = plan.architecture.resolution, 100
    pixels = np.random.default_rng(0).integers(0, 256, (few, side, side, 3), dtype=np.uint8)
    trainer = Trainer(folder, plan.architecture, plan.settings, pixels, str(device))
    images = TrainingImages(pixels, folder / "noise", None)
    evaluator = Evaluator(choose_features("random-convnet-v1", device=device), images, False, few)
    drawing = seconds_of(lambda: evaluator.measure(trainer.average), device, 0.0)
    return drawing.wall * default_samples(device) / few


def main() -> None:
    """Print the figures of each resolution; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolutions", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each kind of step")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    figures: dict[str, Any] = {}
    for resolution in arguments.resolutions:
        plan = plan_for(resolution)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plain = seconds_per_image(plan, 0.0, device, arguments.seconds, folder)
            augmented = seconds_per_image(plan, P, device, arguments.seconds, folder)
            evaluation = evaluation_seconds(plan, device, folder)
        interval = plan.snapshot_images * augmented.wall
        figures[str(resolution)] = {
            "images_s": round(1 / plain.wall, 2),
            "images_s_augmented": round(1 / augmented.wall, 2),
            "images_per_processor_s_augmented": round(1 / augmented.processor, 2),
            "evaluation_s": round(evaluation, 1),
            "evaluation_share": round(evaluation / (interval + evaluation), 4),
            "batch": plan.settings.batch,
            "default_hours": round(plan.images * augmented.wall / 3600, 1),
        }
        print(resolution, json.dumps(figures[str(resolution)]), flush=True)
    print(json.dumps({"resolutions": figures, "device": describe_device(device)}))


if __name__ == "__main__":
    main()
