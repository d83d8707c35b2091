"""How far a generator's samples are from the images it is trained on."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from models.distances.features import FeatureNetwork, measure
from models.distances.statistics import Distance, FeatureStatistics, distance
from models.generator import Generator
from models.pictures import to_network
from models.training.images import TrainingImages

SAMPLES_CPU, SAMPLES_GPU = 2_000, 10_000
LATENT_SEED = 1
BATCH = 50


def default_samples(device: torch.device) -> int:
    """How many samples one evaluation draws."""
    return SAMPLES_CPU if device.type == "cpu" else SAMPLES_GPU


@torch.inference_mode()
def draw_samples(generator: Generator, count: int, seed: int = LATENT_SEED) -> Iterator[Tensor]:
    """`count` samples in batches (B, 3, R, R), with the same latents every time, rounded as a PNG would round them."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, generator.architecture.z_dim, generator=random)
    for chunk in z.to(generator.mapping.w_avg.device).split(generator.at_once(BATCH)):
        yield ((generator(chunk) + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


class Evaluator:
    """Compares samples with the training images; the statistics of those are measured once and kept beside them."""

    def __init__(
        self,
        network: FeatureNetwork,
        images: TrainingImages,
        mirror: bool,
        samples: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """
        Args:
            network: on the device where samples are drawn.
            mirror: whether the training shows mirrored images too; then they belong to what is to be reached.
            samples: drawn at each evaluation.
            progress: called with images measured and images to measure; may raise to stop.
        """
        self.network, self.samples = network, samples
        self.references = self._references(images, mirror, progress)

    def _references(
        self, images: TrainingImages, mirror: bool, progress: Callable[[int, int], None] | None
    ) -> FeatureStatistics:
        suffix = f".{self.network.name}{'.mirrored' if mirror else ''}.npz"
        path = images.path.with_name(images.path.name + suffix)
        try:
            stored = FeatureStatistics.load(path)
            if stored.features == self.network.name:
                return stored
        except (OSError, ValueError):
            pass  # not there, or damaged: it is measured again
        total = len(images.pixels) * (2 if mirror else 1)
        found = measure(
            self.network, self._batches(images, mirror), (lambda done: progress(done, total)) if progress else None
        )
        found.save(path)
        return found

    def _batches(self, images: TrainingImages, mirror: bool) -> Iterator[Tensor]:
        device = next(self.network.parameters()).device
        # In an order of their own: the rows kept for the kernel distance are the first ones.
        order = np.random.default_rng(0).permutation(len(images.pixels))
        for start in range(0, len(order), BATCH):
            batch = to_network(np.array(images.pixels[order[start : start + BATCH]]), device)
            yield batch
            if mirror:
                yield batch.flip(3)

    def measure(self, generator: Generator, pulse: Callable[[], None] | None = None) -> Distance:
        """The distance of a fresh set of samples.

        Args:
            pulse: called after every batch; may raise to stop.
        """
        drawn = measure(self.network, draw_samples(generator, self.samples), (lambda _done: pulse()) if pulse else None)
        return distance(drawn, self.references)
