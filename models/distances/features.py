"""Which features to compare images by, and how to measure them over a set of images."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.distances import inception, random_convnet
from models.distances.inception import Inception, find_inception_weights
from models.distances.random_convnet import RandomConvnet
from models.distances.statistics import FeatureStatistics, StatisticsBuilder

FeatureNetwork = Inception | RandomConvnet

AUTO = "auto"


def choose_features(
    name: str = AUTO, weights: Path | None = None, device: torch.device | None = None
) -> FeatureNetwork:
    """The network of that name.

    Args:
        name: `inception-torchvision`, `random-convnet-v1`, or `auto`: Inception where its weights are, else the other.
        weights: Inception's; None looks in torch's download cache.

    Raises:
        ValueError: an unknown name, or Inception without weights; the message says what to do.
    """
    found = weights or find_inception_weights()
    network: FeatureNetwork
    if name == inception.NAME or (name == AUTO and found is not None):
        if found is None:
            raise ValueError(
                f"{name}: torchvision's weights of inception_v3 are not in torch's cache; give their path, "
                f"or take {random_convnet.NAME}"
            )
        network = Inception(found)
    elif name in (random_convnet.NAME, AUTO):
        network = RandomConvnet()
    else:
        raise ValueError(f"features {name!r}: must be {AUTO}, {inception.NAME} or {random_convnet.NAME}")
    return network.to(device or torch.device("cpu"))


@torch.inference_mode()
def measure(
    network: FeatureNetwork, batches: Iterable[Tensor], progress: Callable[[int], None] | None = None
) -> FeatureStatistics:
    """Statistics of the features of images that come in batches (B, 3, R, R) in [-1, 1], on the network's device.

    Args:
        progress: called with the images done so far; may raise to stop.
    """
    builder = StatisticsBuilder(network.name)
    done = 0
    for images in batches:
        builder.add(network(images).double().cpu().numpy().astype(np.float64))
        done += len(images)
        if progress:
            progress(done)
    return builder.finish()
