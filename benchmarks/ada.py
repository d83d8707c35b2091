"""What augmentation is worth on few images: `python -m benchmarks.ada --images 2000 --kimg 300`.

Trains the network that `labelmint generator train` has for a resolution on the same toy bears twice, with ADA and
without, in turns, so that both have always seen about as many images; `--start` lets both begin with the weights of
another training. Killed and started again, it goes on. With `--arm` a process trains one of the two, so that both can
run side by side; without it, both are brought to the end and compared. Distances are to renders that neither has seen,
and to the training images.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.bears import render
from models.device import choose_device
from models.distances.features import FeatureNetwork, choose_features, measure
from models.distances.statistics import FeatureStatistics, distance
from models.pictures import grid, save_png, to_network
from models.provenance import describe_device
from models.training.bears import render_training_bears
from models.training.checkpoints import has_checkpoint
from models.training.evaluation import draw_samples
from models.training.run import sample_images
from models.training.settings import Augment, plan_for
from models.training.start import read_start
from models.training.trainer import Trainer, TrainingProgress

ARMS: dict[str, Augment] = {"ada": "ada", "plain": "none"}
"""Folder and augmentation of the two runs."""

HELD_OUT_SEED = 5_000_000
LATENT_SEED = 7
BATCH = 50
COLUMNS = 12


@dataclass(frozen=True)
class References:
    """network: measures features. held_out: of renders that nothing is trained on. training: of the training images."""

    network: FeatureNetwork
    held_out: FeatureStatistics
    training: FeatureStatistics


class Arm:
    """One of the two runs."""

    def __init__(
        self, folder: Path, augment: Augment, images: npt.NDArray[np.uint8], arguments: argparse.Namespace
    ) -> None:
        plan = plan_for(arguments.resolution)
        settings = replace(plan.settings, augment=augment, ada_images=round(1000 * arguments.ada_kimg))
        if arguments.gamma is not None:
            settings = replace(settings, r1_gamma=arguments.gamma)
        if arguments.batch is not None:
            settings = replace(settings, batch=arguments.batch)
        start = read_start(arguments.start) if arguments.start and not has_checkpoint(folder) else None
        self.name, self.folder, self.samples = folder.name, folder, arguments.samples
        self.trainer = Trainer(folder, plan.architecture, settings, images, arguments.device, start)
        (folder / "sheets").mkdir(exist_ok=True)

    @property
    def figures(self) -> list[dict[str, Any]]:
        """What was measured so far, by images shown; of what was measured twice the latest."""
        path = self.folder / "distances.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = {figures["images"]: figures for figures in map(json.loads, lines)}
        return [found[images] for images in sorted(found)]

    def advance(self, target: int, references: References) -> None:
        """Train until `target` images were shown, then draw a sheet and measure."""
        if any(figures["images"] >= target for figures in self.figures) and self.trainer.shown >= target:
            return
        last: list[TrainingProgress] = []
        self.trainer.run(target, lambda progress: last.__setitem__(slice(None), [progress]))
        save_png(self.sheet(), grid(sample_images(self.trainer.average, 6 * COLUMNS, LATENT_SEED), COLUMNS))
        drawn = measure(references.network, draw_samples(self.trainer.average, self.samples, LATENT_SEED))
        new, old = distance(drawn, references.held_out), distance(drawn, references.training)
        figures = {
            "images": self.trainer.shown,
            "frechet_held_out": round(new.frechet, 5),
            "kernel_held_out": round(new.kernel, 7),
            "frechet_training": round(old.frechet, 5),
            "kernel_training": round(old.kernel, 7),
            "p": round(self.trainer.probability.p, 4),
            "certainty": round(self.trainer.probability.certainty, 3),
            "real": round(last[0].real, 3) if last else None,
            "fake": round(last[0].fake, 3) if last else None,
            "images_per_s": round(last[0].images_per_s, 1) if last else None,
        }
        with (self.folder / "distances.jsonl").open("a") as file:
            file.write(json.dumps(figures) + "\n")
        print(self.name, json.dumps(figures), flush=True)

    def sheet(self) -> Path:
        """Of the samples at the images shown so far."""
        return self.folder / "sheets" / f"{self.trainer.shown:08d}.png"


def held_out_statistics(
    path: Path, network: FeatureNetwork, count: int, size: int, dressed: bool, device: torch.device
) -> FeatureStatistics:
    """Of `count` renders, measured once by the network on its device and kept at `path`."""
    if path.exists():
        return FeatureStatistics.load(path)
    starts = range(HELD_OUT_SEED, HELD_OUT_SEED + count, BATCH)
    renders = (to_network(render(range(s, s + BATCH), size, dressed=dressed).images, device) for s in starts)
    found = measure(network, renders)
    found.save(path)
    return found


def main() -> None:
    """Run both arms to the end, round by round; the last line is JSON with the figures of each over images shown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--kimg", type=float, default=300.0)
    parser.add_argument("--round-kimg", type=float, default=10.0)
    parser.add_argument("--ada-kimg", type=float, default=500.0, help="thousands of images for p to go from 0 to 1")
    parser.add_argument("--gamma", type=float, help="weight of R1; the default of the resolution if not given")
    parser.add_argument("--batch", type=int, help="images a step; the default of the resolution if not given")
    parser.add_argument("--dressed", action="store_true", help="bears with hats, scarfs, bow ties and balls")
    parser.add_argument("--start", type=Path, help="folder of a training, of the generator and of the discriminator")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--held-out", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=2_000)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--arm", choices=[*ARMS], help="train this one alone")
    arguments = parser.parse_args()
    bears = f"{'dressed-' if arguments.dressed else ''}{arguments.images}"
    cache = arguments.runs / f"ada-images-{bears}"
    cache.mkdir(parents=True, exist_ok=True)
    size, device = arguments.resolution, choose_device(arguments.device)
    images = render_training_bears(arguments.images, size, cache, dressed=arguments.dressed).pixels
    network = choose_features("random-convnet-v1", device=device)
    kept = cache / f"held-out-{size}-{arguments.held_out}.npz"
    held_out = held_out_statistics(kept, network, arguments.held_out, size, arguments.dressed, device)
    batches = (to_network(np.array(images[s : s + BATCH]), device) for s in range(0, len(images), BATCH))
    references = References(network, held_out, measure(network, batches))
    floor = distance(references.training, held_out)
    print("training images to held-out ones:", round(floor.frechet, 5), round(floor.kernel, 7), flush=True)

    arms = [
        Arm(arguments.runs / f"{name}-{bears}", augment, images, arguments)
        for name, augment in ARMS.items()
        if arguments.arm in (None, name)
    ]
    step = int(1000 * arguments.round_kimg)
    for target in range(step, int(1000 * arguments.kimg) + 1, step):
        for arm in arms:
            arm.advance(target, references)
    for arm in arms:
        print(arm.name, "sheet:", arm.sheet())
    best = {arm.name: min(figures["frechet_held_out"] for figures in arm.figures) for arm in arms}
    result = {
        "images": arguments.images,
        "dressed": arguments.dressed,
        "start": str(arguments.start) if arguments.start else None,
        "features": network.name,
        "training_to_held_out_frechet": round(floor.frechet, 5),
        "best_frechet_held_out": best,
        "last_frechet_held_out": {arm.name: arm.figures[-1]["frechet_held_out"] for arm in arms},
        "figures": {arm.name: arm.figures for arm in arms},
        "device": describe_device(device),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
