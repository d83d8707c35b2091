"""What the generator computes for the codes of seeds, ready for a labeler to learn from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.device import fast_precision
from models.generator import Architecture
from models.heads.image_head import pooled

FEATURE_CACHE_BYTES = 7 * 2**29
"""Features of all seeds are kept while they fit; beyond that they are made again for every batch."""

CHUNK = 4
"""Images synthesised at once."""


def feature_sides(architecture: Architecture) -> tuple[int, ...]:
    """The side of each style block's output, coarse to fine."""
    return tuple(r for r in architecture.resolutions for _ in range(1 if r == 4 else 2))


class SeedFeatures:
    """The style blocks' outputs of codes, by batch: kept in memory while small, else made again."""

    def __init__(self, bundle: GeneratorBundle, codes: Tensor) -> None:
        """
        Args:
            codes: (N, num_ws, w_dim).
        """
        self.bundle, self.codes = bundle, codes
        self.precision = fast_precision(bundle.device)
        architecture = bundle.generator.architecture
        self.sides = feature_sides(architecture)
        values = sum(c * r * r for c, r in zip(architecture.feature_channels, self.sides, strict=True))
        size = len(codes) * values * torch.finfo(self.precision).bits // 8
        self.kept = self._make(torch.arange(len(codes))) if size <= FEATURE_CACHE_BYTES else None

    @torch.no_grad()
    def _make(self, rows: Tensor) -> list[Tensor]:
        parts = [
            self.bundle.generator.synthesis(self.codes[chunk.to(self.codes.device)], self.precision)[1]
            for chunk in rows.split(CHUNK)
        ]
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    def of(self, rows: Tensor) -> list[Tensor]:
        """Features of these codes, coarse to fine, each (len(rows), C, r, r)."""
        if self.kept is None:
            return self._make(rows)
        return [level[rows.to(level.device)] for level in self.kept]


@dataclass(frozen=True)
class PooledFeatures:
    """The features' means over pixels. seeds: float32 (N, ΣC), of the seeds' codes. random: float32 (R, ΣC), of random
    samples, whose mean and deviation say more of what is usual than those of a few seeds."""

    seeds: Tensor
    random: Tensor

    @staticmethod
    def of(features: SeedFeatures, random_samples: int, seed: int) -> "PooledFeatures":
        """Those of the seeds, and of samples drawn with `seed`."""
        rows = torch.arange(len(features.codes)).split(CHUNK)
        return PooledFeatures(
            torch.cat([pooled(features.of(chunk)) for chunk in rows]),
            _random_pooled(features.bundle, random_samples, seed),
        )


@torch.no_grad()
def _random_pooled(bundle: GeneratorBundle, count: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    generator = bundle.generator
    z = torch.randn(count, generator.architecture.z_dim, generator=random).to(bundle.device)
    classes = generator.mapping.random_classes(count, random)
    codes = generator.broadcast(generator.mapping(z, 1.0, classes))
    precision = fast_precision(bundle.device)
    return torch.cat([pooled(generator.synthesis(chunk, precision)[1]) for chunk in codes.split(CHUNK)])
