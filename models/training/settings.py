"""What can be set of a training run, and what is sensible at each resolution."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from models.architecture import Architecture

Augment = Literal["none", "ada", "fixed"]


@dataclass(frozen=True)
class TrainingSettings:
    """How a generator is trained.

    batch: images a step. learning_rate: Adam's, for both networks. r1_gamma: weight of R1 on the squared gradient
    norm over the image. mixing: probability that two w share an image. ema_images: half-life of the weight average, in
    images. mirror: flip real images at random. seed: of weights, latents and batches.

    augment: what the discriminator's images go through; `ada` finds the probability of each change by itself, `fixed`
    keeps it at augment_p, `none` leaves them as they are. augment_p: probability to keep, or to start from, in [0, 1).
    ada_target: share of real images, from -1 to 1, by which those taken for real outnumber those taken for
    generated; above it the discriminator overfits, and the probability rises. ada_images: images over which it can
    go from 0 to 1, as published by default: quicker, it takes a discriminator that is sure of the first poor images for
    one that overfits. warm_up_images: after a start from a generator's weights without their discriminator, so many
    images train the new discriminator alone, and over half as many again the generator's learning rate rises to what it
    stays at, which is less than the discriminator's.
    """

    batch: int = 32
    learning_rate: float = 2.5e-3
    r1_gamma: float = 0.3
    mixing: float = 0.5
    ema_images: int = 10_000
    mirror: bool = False
    seed: int = 0
    augment: Augment = "none"
    augment_p: float = 0.0
    ada_target: float = 0.6
    ada_images: int = 500_000
    warm_up_images: int = 40_000

    def __post_init__(self) -> None:
        problems = (
            (self.augment not in get_args(Augment), f"augment {self.augment!r}: must be none, ada or fixed"),
            (not 0 <= self.augment_p < 1, f"augment_p {self.augment_p}: must be at least 0 and below 1"),
            (not -1 < self.ada_target < 1, f"ada_target {self.ada_target}: must lie between -1 and 1"),
            (self.ada_images <= 0, f"ada_images {self.ada_images}: must be above 0"),
            (self.batch < 2, f"batch {self.batch}: must be at least 2"),
            (self.batch > 4 and self.batch % 4 != 0, f"batch {self.batch}: must be a multiple of 4"),
            (self.learning_rate <= 0, f"learning_rate {self.learning_rate}: must be above 0"),
            (self.r1_gamma < 0, f"r1_gamma {self.r1_gamma}: must not be negative"),
        )
        for wrong, message in problems:
            if wrong:
                raise ValueError(message)


@dataclass(frozen=True)
class TrainingPlan:
    """What to train at a resolution, and how long. snapshot_images: images shown between two evaluations."""

    architecture: Architecture
    settings: TrainingSettings
    images: int
    snapshot_images: int


BEAR_PLAN = TrainingPlan(
    architecture=Architecture(
        resolution=64, z_dim=128, w_dim=128, mapping_layers=6, channel_base=2048, channel_max=192, noise=False
    ),
    settings=TrainingSettings(mirror=True),
    images=300_000,
    snapshot_images=20_000,
)
"""For toy bears: of those there are as many as anyone wants, so nothing needs augmenting."""


def plan_for(resolution: int) -> TrainingPlan:
    """Sensible defaults for images of `resolution` pixels a side, a power of two from 8 to 1024.

    Up to 64² the network is one that a CPU trains within hours; above it grows towards NVIDIA's sizes, which want a
    GPU. R1 weighs as the published configurations have it, 0.0002 · pixels / batch, where that is more than 0.3.

    Raises:
        ValueError: no such resolution.
    """
    if resolution <= 64:
        architecture = replace(BEAR_PLAN.architecture, resolution=resolution)
        return replace(BEAR_PLAN, architecture=architecture, settings=TrainingSettings(augment="ada"))
    width = 256 if resolution == 128 else 512
    architecture = Architecture(
        resolution=resolution,
        z_dim=width,
        w_dim=width,
        mapping_layers=6 if resolution == 128 else 8,
        channel_base=8192 if resolution == 128 else 16384 if resolution <= 256 else 32768,
        channel_max=width,
        noise=True,
    )
    batch = 32 if resolution <= 256 else 16
    gamma = max(0.3, 0.0002 * resolution**2 / batch)
    settings = TrainingSettings(batch=batch, r1_gamma=gamma, augment="ada")
    return TrainingPlan(architecture, settings, 1_000_000 if resolution == 128 else 2_000_000, 40_000)
