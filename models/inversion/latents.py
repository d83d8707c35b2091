"""Where a generator's random samples live in its latent space, and a prior that keeps codes there.

The P+ space of Zhu et al., "Improved StyleGAN Embedding: Where are the Good Latents?", 2020: a leaky ReLU of slope 5
undoes the mapping's last activation, after which random w are nearly Gaussian; principal components whiten them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from models.checkpoint import load_tensors, save_tensors
from models.generator import LRELU_SLOPE, Generator

SAMPLES = 50_000

_CHUNK = 4096


@dataclass(frozen=True)
class LatentStatistics:
    """w_avg: (w_dim,) mean of w. w_std: (w_dim,) its standard deviation. p_mean: (w_dim,) mean in P space. whiten:
    (w_dim, w_dim), maps a centred P vector to unit covariance. All float32."""

    w_avg: Tensor
    w_std: Tensor
    p_mean: Tensor
    whiten: Tensor

    def p_norm(self, codes: Tensor) -> Tensor:
        """How far codes lie from random samples: the mean square of their whitened P coordinates. On average 1 for
        random w, less where some directions hardly vary: those are whitened by more than they vary.

        Args:
            codes: (..., w_dim).

        Returns:
            (...), the last axis averaged.
        """
        p = F.leaky_relu(codes, 1 / LRELU_SLOPE) - self.p_mean
        return (p @ self.whiten.T).square().mean(dim=-1)

    def to(self, device: torch.device) -> "LatentStatistics":
        return LatentStatistics(*(t.to(device) for t in (self.w_avg, self.w_std, self.p_mean, self.whiten)))

    def save(self, path: Path) -> None:
        """Write `latents.safetensors`, whole or not at all."""
        tensors = {"w_avg": self.w_avg, "w_std": self.w_std, "p_mean": self.p_mean, "whiten": self.whiten}
        save_tensors(path, tensors, "latents", {"samples": SAMPLES})

    @staticmethod
    def load(path: Path, device: torch.device) -> "LatentStatistics":
        """Read what `save` wrote. Raises `CheckpointError`."""
        tensors, _ = load_tensors(path, "latents")
        names = ("w_avg", "w_std", "p_mean", "whiten")
        return LatentStatistics(*(tensors[name].to(device) for name in names))


@torch.no_grad()
def measure_latents(generator: Generator, seed: int = 0) -> LatentStatistics:
    """Statistics of `SAMPLES` random w of a generator, of all its classes alike, worked out in float64.

    They lie on the generator's device. The samples are drawn and forgotten by the chunk.
    """
    device = generator.mapping.w_avg.device
    random = torch.Generator().manual_seed(seed)
    of_w = _Moments(generator.architecture.w_dim, lambda rows: rows.square().sum(dim=0))
    of_p = _Moments(generator.architecture.w_dim, lambda rows: rows.T @ rows)
    for first in range(0, SAMPLES, _CHUNK):
        z = torch.randn(min(_CHUNK, SAMPLES - first), generator.architecture.z_dim, generator=random)
        w = _mapped(generator, z.to(device), random).cpu().double()
        of_w.add(w)
        of_p.add(F.leaky_relu(w, 1 / LRELU_SLOPE))
    values, vectors = torch.linalg.eigh(of_p.spread())
    # Directions that hardly vary would dominate a prior: their variance counts as at least a thousandth of the largest.
    whiten = (vectors * values.clamp(min=1e-3 * values.max()).rsqrt()).T
    found = (of_w.mean, of_w.spread().sqrt(), of_p.mean, whiten.contiguous())
    return LatentStatistics(*(figures.float() for figures in found)).to(device)


@torch.no_grad()
def describe_latents(generator: Generator, latents: LatentStatistics, seed: int = 1) -> dict[str, float]:
    """A few figures about `latents`: root mean squares of the mean and of the standard deviation of w, and mean and
    standard deviation of the P-norm of random w of the generator."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(4096, generator.architecture.z_dim, generator=random).to(latents.w_avg.device)
    norms = latents.p_norm(_mapped(generator, z, random))
    return {
        "w_avg_rms": float(latents.w_avg.square().mean().sqrt()),
        "w_std_rms": float(latents.w_std.square().mean().sqrt()),
        "p_norm_mean": float(norms.mean()),
        "p_norm_std": float(norms.std()),
    }


class _Moments:
    """Mean and spread of rows that come by the chunk, as if all of them were there at once (Chan et al., "Algorithms
    for Computing the Sample Variance", 1983). `products`: (n, features) → what is to be summed of centred rows: their
    squares for the variance, their outer products for the covariance."""

    def __init__(self, features: int, products: Callable[[Tensor], Tensor]) -> None:
        self.products = products
        self.count = 0
        self.mean = torch.zeros(features, dtype=torch.float64)
        self.scatter = torch.zeros_like(products(self.mean.unsqueeze(0)))

    def add(self, rows: Tensor) -> None:
        """Count in (n, features) float64."""
        mean = rows.mean(dim=0)
        moved, share = mean - self.mean, len(rows) / (self.count + len(rows))
        self.scatter += self.products(rows - mean) + self.count * share * self.products(moved.unsqueeze(0))
        self.mean += share * moved
        self.count += len(rows)

    def spread(self) -> Tensor:
        """The unbiased variance, (features,), or covariance, (features, features)."""
        return self.scatter / (self.count - 1)


def _mapped(generator: Generator, z: Tensor, random: torch.Generator) -> Tensor:
    """w of these latents, of classes drawn at random if the generator has any."""
    w: Tensor = generator.mapping(z, c=generator.mapping.random_classes(len(z), random))
    return w
