"""Networks that learnt from exact renders alone, and what they see in any images of bears."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.quality.data import FULL_SEED, LabeledImages, rendered
from benchmarks.quality.scoring import predict, score
from benchmarks.quality.training import Budget, TrainedNet, train_net
from models.bears import SPECIES, Domain
from models.device import training_precision
from models.distances.statistics import FeatureStatistics, StatisticsBuilder
from models.pictures import to_network

FEATURES = "unet-of-renders-v1"
"""The features: mean and deviation over the pixels of the innermost maps of the network for segmentation."""

BATCH = 100


@dataclass(frozen=True)
class Seen:
    """What the judges see in N images. features: statistics of the features. areas: float64 (N, parts), the share of
    the pixels that each part takes. species: int64 (N,)."""

    features: FeatureStatistics
    areas: npt.NDArray[np.float64]
    species: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Judges:
    """parts, species: networks that segment a bear and name its species. names: of the parts."""

    parts: TrainedNet
    species: TrainedNet
    names: tuple[str, ...]

    @staticmethod
    def taught(renders: int, steps: int, side: int, domain: Domain) -> "Judges":
        """Both, trained on as many exact renders for as many steps of 16 images."""
        lessons = rendered(range(FULL_SEED, FULL_SEED + renders), side, domain)
        budget = Budget(steps=steps, batch=16)
        return Judges(
            train_net("segmentation", lessons, len(domain.parts), budget, 0),
            train_net("class", lessons, len(SPECIES), budget, 0),
            domain.parts,
        )

    def check(self, test: LabeledImages) -> tuple[float, float]:
        """How right they are on exact renders: mIoU of the parts, share of the species."""
        parts, species = score(self.parts, test, self.names), score(self.species, test, self.names)
        return float(parts["mean_iou"]), float(species["class_accuracy"])  # type: ignore[arg-type]

    def see(self, images: npt.NDArray[np.uint8]) -> Seen:
        """What they see in uint8 images (N, R, R, 3)."""
        masks, species = predict(self.parts, images).masks, predict(self.species, images).attributes
        assert masks is not None and species is not None
        return Seen(self._features(images), part_areas(masks, len(self.names)), species[:, 0].astype(np.int64))

    @torch.inference_mode()
    def _features(self, images: npt.NDArray[np.uint8]) -> FeatureStatistics:
        builder, precision = StatisticsBuilder(FEATURES), training_precision(torch.device("cpu"))
        kept: list[Tensor] = []
        hook = self.parts.net.down[-1].register_forward_hook(lambda _net, _in, out: kept.append(out))
        try:
            for start in range(0, len(images), BATCH):
                batch = to_network(images[start : start + BATCH], torch.device("cpu"))
                with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                    self.parts.net(batch)
                maps = kept.pop().double()
                builder.add(torch.cat([maps.mean(dim=(2, 3)), maps.std(dim=(2, 3))], dim=1).numpy())
        finally:
            hook.remove()
        return builder.finish()


def part_areas(masks: npt.NDArray[np.uint8], parts: int) -> npt.NDArray[np.float64]:
    """The share of the pixels of each mask (N, H, W) that each part takes: (N, parts), rows sum to 1."""
    flat = masks.reshape(len(masks), -1)
    return np.stack([(flat == part).mean(axis=1) for part in range(parts)], axis=1)
