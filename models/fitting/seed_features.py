"""What the generator computes for the codes of seeds, ready for a labeler to learn from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.device import fast_precision, sent, training_precision
from models.fitting.lattice import Lattice
from models.heads.image_head import pooled

FEATURE_CACHE_BYTES = 9 * 2**29
"""Features of all seeds are kept while they fit, in half precision if need be; beyond that they are made again for
every batch."""

CHUNK = 4
"""Images synthesised at once, where they are not large."""

_AT_ONCE_PIXELS = 2**17
"""Far fewer than of a generator alone: what a labeler makes of an image's pixels is many times as large."""


def at_once(resolution: int, most: int) -> int:
    """How many images to work on at once: at most so many, and large ones one by one."""
    return max(1, min(most, _AT_ONCE_PIXELS // resolution**2))


def _shapes(bundle: GeneratorBundle, largest: int) -> list[tuple[int, int]]:
    """Channels and side of what is kept of each level."""
    architecture = bundle.generator.architecture
    levels = zip(architecture.feature_channels, architecture.feature_sides, strict=True)
    return [(channels, min(side, largest)) for channels, side in levels]


def smallest_bytes(bundle: GeneratorBundle, largest: int) -> int:
    """The least that the features of one code take that are kept, at most `largest` pixels a side."""
    return torch.bfloat16.itemsize * sum(channels * side * side for channels, side in _shapes(bundle, largest))


class SeedFeatures:
    """The style blocks' outputs of codes, by batch: what is learnt from is kept in memory while small, else made again.

    With a lattice, that are coarse outputs as they are, and finer ones at the lattice's pixels.
    """

    def __init__(
        self,
        bundle: GeneratorBundle,
        codes: Tensor,
        lattice: Lattice | None = None,
        budget_bytes: int | None = None,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            codes: (N, num_ws, w_dim).
            lattice: pixels of the N images; None for all of them.
            budget_bytes: what may be kept in memory; `FEATURE_CACHE_BYTES` unless told.
            watch: called now and then while what is kept is made; may raise.
        """
        self.bundle, self.codes, self.lattice = bundle, codes, lattice
        # Gradients go through what is made of the features, down to a millionth for each pixel: too little for float16.
        self.precision = training_precision(bundle.device)
        self.chunk = at_once(bundle.resolution, CHUNK)
        shapes = _shapes(bundle, lattice.side if lattice else bundle.resolution)
        values = len(codes) * sum(c * r * r for c, r in shapes)
        budget = FEATURE_CACHE_BYTES if budget_bytes is None else budget_bytes
        fitting = [kind for kind in (self.precision, torch.bfloat16) if values * kind.itemsize <= budget]
        self.kept = self._kept(shapes, fitting[0], watch) if fitting else None

    @property
    def kept_bytes(self) -> int:
        """What is kept in memory."""
        return sum(level.numel() * level.element_size() for level in self.kept or [])

    def _kept(self, shapes: list[tuple[int, int]], precision: torch.dtype, watch: Callable[[], None]) -> list[Tensor]:
        """Filled chunk by chunk, so that nothing is held twice."""
        kept = [
            torch.empty(
                (len(self.codes), channels, side, side),
                dtype=precision,
                device=self.codes.device,
                memory_format=torch.channels_last,
            )
            for channels, side in shapes
        ]
        for rows in torch.arange(len(self.codes)).split(self.chunk):
            for level, made in zip(kept, self._seen(rows, self._make(rows)), strict=True):
                level[rows[0] : rows[-1] + 1] = made
            watch()
        return kept

    @torch.no_grad()
    def _make(self, rows: Tensor) -> list[Tensor]:
        parts = [
            self.bundle.generator.synthesis(self.codes[sent(chunk, self.codes.device)], self.precision)[1]
            for chunk in rows.split(self.chunk)
        ]
        return parts[0] if len(parts) == 1 else [torch.cat(level) for level in zip(*parts, strict=True)]

    def _seen(self, rows: Tensor, whole: list[Tensor]) -> list[Tensor]:
        """What of whole features is learnt from."""
        if self.lattice is None:
            return whole
        pixels = self.lattice.of(rows)
        return [level if level.shape[-1] < pixels.side else pixels.sample(level) for level in whole]

    def to_learn_from(self, rows: Tensor) -> list[Tensor]:
        """Features of these codes, coarse to fine, each (len(rows), C, r, r); with a lattice, those with r at least its
        side are (len(rows), C, side, side), its pixels."""
        if self.kept is None:
            return self._seen(rows, self._make(rows))
        chosen = sent(rows, self.codes.device)
        return [level[chosen].to(self.precision) for level in self.kept]

    def of(self, rows: Tensor) -> list[Tensor]:
        """Whole features of these codes, coarse to fine, each (len(rows), C, r, r)."""
        return self._make(rows) if self.lattice else self.to_learn_from(rows)


@dataclass(frozen=True)
class PooledFeatures:
    """The features' means over pixels. seeds: float32 (N, ΣC), of the seeds' codes. random: float32 (R, ΣC), of random
    samples, whose mean and deviation say more of what is usual than those of a few seeds."""

    seeds: Tensor
    random: Tensor

    @staticmethod
    def of(
        features: SeedFeatures, random_samples: int, seed: int, watch: Callable[[], None] = lambda: None
    ) -> "PooledFeatures":
        """Those of the seeds, and of samples drawn with `seed`; `watch` is called now and then, and may raise."""
        seeds = []
        for chunk in torch.arange(len(features.codes)).split(features.chunk):
            seeds.append(pooled(features.of(chunk)))
            watch()
        return PooledFeatures(torch.cat(seeds), _random_pooled(features.bundle, random_samples, seed, watch))


@torch.no_grad()
def _random_pooled(bundle: GeneratorBundle, count: int, seed: int, watch: Callable[[], None]) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    generator = bundle.generator
    z = torch.randn(count, generator.architecture.z_dim, generator=random).to(bundle.device)
    classes = generator.mapping.random_classes(count, random)
    codes = generator.broadcast(generator.mapping(z, 1.0, classes))
    precision = fast_precision(bundle.device)
    parts = []
    for chunk in codes.split(at_once(bundle.resolution, CHUNK)):
        parts.append(pooled(generator.synthesis(chunk, precision)[1]))
        watch()
    return torch.cat(parts)
