"""What fitting a labeler to large seeds takes: `python -m benchmarks.fit_large --resolution 512 --seeds 50`.

Fits in two rounds, cross-validates, draws pilot samples and labels the seeds as the service does after the inversion,
in a process of its own whose peak memory is read at the end. Every seed has its flipped twin, unless told otherwise.
The generator has the published sizes (config f) and random weights, the codes are those of random samples, the masks
random blobs: what they show changes neither time nor memory. With fewer steps or pilot samples than the service takes,
`estimated_s` says what all of them would come to, at the pace that was seen; without, it is what was measured. The last
line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peak_memory import peak_mb
from benchmarks.published_sizes import random_bundle
from models.bundle import GeneratorBundle
from models.device import choose_device
from models.fitting import FitSettings, LabelNames, StackedLabels
from models.fitting.cross_validation import LEAST_SEEDS, fold_count
from models.fitting.fit import Learnt, learn
from models.fitting.pilots import pilot_batches
from models.fitting.report import held_out_figures
from models.fitting.second_round import SeedPictures, first_round, second_round_steps
from models.fitting.twins import Twins
from models.labels import LabelLayout
from models.provenance import describe_device

BLOB_CELLS = 12
"""Of the coarse noise that blobs are made from, along a side."""


@dataclass
class Pace:
    """Notes when each unit of a fit was done on the device: a step of training, or a batch of samples."""

    device: torch.device
    moments: list[float] = field(default_factory=list)

    def note(self, done: int, _total: int) -> None:
        """What `learn` calls; a unit that is reported twice counts once, and several reported at once end at once."""
        if done > len(self.moments):
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.moments += [time.perf_counter()] * (done - len(self.moments))

    def between(self, first: int, last: int) -> float:
        """Seconds a unit from the end of unit `first`, counted from 1, to that of unit `last`."""
        return (self.moments[last - 1] - self.moments[first - 1]) / (last - first)


@torch.no_grad()
def random_codes(bundle: GeneratorBundle, count: int, seed: int) -> Tensor:
    """Those of random samples, (count, num_ws, w_dim)."""
    z = torch.randn(count, bundle.generator.architecture.z_dim, generator=torch.Generator().manual_seed(seed))
    return bundle.generator.broadcast(bundle.generator.mapping(z.to(bundle.device))).contiguous()


def names_of(classes: int) -> LabelNames:
    """Names for so many classes."""
    return LabelNames(tuple(f"class {index}" for index in range(classes)))


def blobs(count: int, resolution: int, classes: int, seed: int) -> StackedLabels:
    """Masks of random blobs of every class, uint8 (count, resolution, resolution)."""
    random = torch.Generator().manual_seed(seed)
    masks = [
        F.interpolate(
            torch.randn(1, classes, BLOB_CELLS, BLOB_CELLS, generator=random), (resolution, resolution), mode="bicubic"
        )[0].argmax(dim=0)
        for _ in range(count)
    ]
    return StackedLabels(torch.stack(masks).to(torch.uint8).numpy(), None, None, None)


def misfit_of(labels: StackedLabels, seed: int) -> Tensor:
    """As of reconstructions, random for each pixel of the masks."""
    assert labels.masks is not None
    return torch.rand(labels.masks.shape, generator=torch.Generator().manual_seed(seed))


def settings_of(arguments: argparse.Namespace) -> FitSettings:
    """As the service fits, or with fewer steps and pilot samples."""
    usual = FitSettings()
    return replace(
        usual,
        steps=min(usual.steps, arguments.steps or usual.steps),
        first_steps=min(usual.first_steps, arguments.steps or usual.first_steps),
        second_steps=min(usual.second_steps, arguments.steps or usual.second_steps),
        teacher_steps=min(usual.teacher_steps, arguments.steps or usual.teacher_steps),
        fold_steps=min(usual.fold_steps, arguments.steps or usual.fold_steps),
        pilots=tuple((psi, min(count, arguments.pilots or count)) for psi, count in usual.pilots),
    )


def units(bundle: GeneratorBundle, learnt: Learnt, pictures: SeedPictures, settings: FitSettings) -> list[int]:
    """How many units each phase of a fit has, in their order: steps of the first round, batches of lessons, steps of
    the teacher and of the second round, steps of the cross-validation, batches of pilot samples."""
    second = second_round_steps(bundle, learnt.lessons, pictures.fewest, settings)
    first = first_round(learnt.lessons, pictures.fewest, settings).steps
    return [
        first,
        *second,
        fold_count(len(pictures.images), settings) * settings.fold_steps,
        pilot_batches(bundle, settings),
    ]


def missing_s(pace: Pace, done: list[int], usual: list[int]) -> float:
    """Seconds that the units of the usual fit would have taken that were left out of every phase."""
    total, before = 0.0, 0
    for here, all_of_them in zip(done, usual, strict=True):
        if all_of_them > here:
            total += (all_of_them - here) * pace.between(before + 1, before + here)
        before += here
    return total


def fit_here(arguments: argparse.Namespace) -> None:
    """Fit and print what it took of this process, as JSON."""
    device, settings, usual = choose_device(arguments.device), settings_of(arguments), FitSettings()
    bundle = random_bundle(arguments.resolution, device)
    count, classes = arguments.seeds, arguments.classes
    truth, layout = blobs(count, arguments.resolution, classes, 1), LabelLayout(classes=classes)
    twins = None
    if arguments.twins:
        labels = blobs(count, arguments.resolution, classes, 2)
        usable = torch.ones(count, dtype=torch.bool)
        twins = Twins(random_codes(bundle, count, 2), misfit_of(labels, 3), labels, usable, 0.0, 0.0)
    loaded_mb, pace, started = peak_mb(), Pace(device), time.perf_counter()
    codes = random_codes(bundle, count, 1)
    assert truth.masks is not None
    noise = np.random.default_rng(5).integers(0, 256, (*truth.masks.shape, 3), dtype=np.uint8)
    pictures = SeedPictures(noise, truth.masks, tuple(range(classes)) if arguments.twins else None)
    misfit = misfit_of(truth, 4)
    learnt = learn(bundle, codes, truth, [True] * count, layout, settings, pace.note, twins, misfit, pictures)
    assert learnt.held_out is not None
    held_out_figures(learnt.held_out, truth.rows(learnt.held_out.rows.tolist()), names_of(classes), bundle.resolution)
    seconds = time.perf_counter() - started
    done, all_of_them = (units(bundle, learnt, pictures, given) for given in (settings, usual))
    result: dict[str, Any] = {
        "peak_mb": round(peak_mb(), 1),
        "loaded_mb": round(loaded_mb, 1),
        **({"gpu_peak_mb": round(torch.cuda.max_memory_allocated(device) / 2**20, 1)} if device.type == "cuda" else {}),
        "seconds": round(seconds, 1),
        "seconds_per_step": round(pace.between(1, done[0]), 3),
        "steps": done[0],
        "lessons": learnt.lessons,
        "pilots": sum(drawn for _, drawn in settings.pilots),
        "phases_s": learnt.seconds,
        "estimated_s": round(seconds + missing_s(pace, done, all_of_them), 1),
        "resolution": arguments.resolution,
        "seeds": count,
        "twins": arguments.twins,
        "classes": classes,
        "device": describe_device(bundle.device),
    }
    print(json.dumps(result))


def main() -> None:
    """Print peak memory, time and time a step of a fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--steps", type=int, default=None, help="at least 2; at most so many, folds included")
    parser.add_argument("--pilots", type=int, default=None, help="at most so many pilot samples a truncation")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-twins", dest="twins", action="store_false", help="learn from the seeds alone")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.seeds < LEAST_SEEDS or arguments.steps == 1:
        parser.error(f"give at least {LEAST_SEEDS} seeds, so that there is a cross-validation, and at least 2 steps")
    if arguments.child:
        return fit_here(arguments)
    command = [sys.executable, "-m", "benchmarks.fit_large", "--child", *sys.argv[1:]]
    print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
