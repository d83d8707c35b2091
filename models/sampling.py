"""Generated images with their labels, one after another, for as long as anyone wants more.

Sample i of a job depends on (job seed, i) alone: its latents come from a counter-based random generator keyed by both,
batches have one fixed size whatever is asked for, and no sample sees another. A candidate whose uncertainty exceeds the
threshold is drawn again, so that exactly the samples asked for come out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.device import fast_precision
from models.labeler import Labeler
from models.pictures import to_uint8

ATTEMPTS = 16
"""Draws per sample; if all are too uncertain, the least uncertain of them is delivered."""


@dataclass(frozen=True)
class Sample:
    """image: uint8 (H, W, 3). mask: uint8 (H, W), class indices. uncertainty: as in `Labels`, in nats."""

    index: int
    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    uncertainty: float


def latent(job_seed: int, index: int, attempt: int, z_dim: int) -> npt.NDArray[np.float32]:
    """The latent of one candidate, (z_dim,) standard normal: a pure function of its arguments."""
    random = np.random.Generator(np.random.Philox(key=[job_seed, index], counter=[0, 0, 0, attempt]))
    return random.standard_normal(z_dim, dtype=np.float32)


def batch_size(bundle: GeneratorBundle) -> int:
    """How many samples to make at once: fixed by resolution and kind of device, never by what is asked for, because a
    convolution may round differently in batches of another size."""
    pixels = bundle.resolution**2
    budget = 2**17 if bundle.device.type == "cpu" else 2**23
    return max(1, min(64, budget // pixels))


@torch.inference_mode()
def label_latents(
    bundle: GeneratorBundle, labeler: Labeler, z: Tensor, truncation: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Images float32 (B, 3, R, R), masks uint8 (B, R, R) and uncertainty float32 (B,) of latents z (B, z_dim)."""
    w = bundle.generator.mapping(z.to(bundle.device), truncation)
    codes = bundle.generator.broadcast(w)
    images, features = bundle.generator.synthesis(codes, fast_precision(bundle.device))
    labels = labeler.label(features)
    return images, labels.masks, labels.uncertainty


def labeled_samples(
    bundle: GeneratorBundle,
    labeler: Labeler,
    job_seed: int,
    indices: range,
    truncation: float = 1.0,
    discard_fraction: float = 0.1,
) -> Iterator[Sample]:
    """The samples of `indices`, in order; memory does not grow with their number.

    Args:
        job_seed: with the index, fixes a sample.
        indices: consecutive and increasing.
        truncation: psi in [0, 1].
        discard_fraction: share of random samples that count as too uncertain, in [0, 1).
    """
    threshold = labeler.discard_threshold(discard_fraction, truncation)
    size, z_dim = batch_size(bundle), bundle.generator.architecture.z_dim
    upcoming = iter(indices)
    retries: list[tuple[int, int]] = []
    finished: dict[int, Sample] = {}
    best: dict[int, Sample] = {}
    next_out = indices.start
    while next_out < indices.stop:
        # The oldest first, so that what waits for an earlier sample to come out stays short.
        candidates = retries[:size]
        retries = retries[size:]
        while len(candidates) < size and len(finished) < 64 * size and (index := next(upcoming, None)) is not None:
            candidates.append((index, 0))
        z = np.zeros((size, z_dim), dtype=np.float32)
        for row, (index, attempt) in enumerate(candidates):
            z[row] = latent(job_seed, index, attempt, z_dim)
        images, masks, uncertainty = label_latents(bundle, labeler, torch.from_numpy(z), truncation)
        pixels, classes = to_uint8(images), masks.cpu().numpy()
        for row, ((index, attempt), score) in enumerate(zip(candidates, uncertainty.tolist(), strict=False)):
            if index not in best or score < best[index].uncertainty:
                best[index] = Sample(index, pixels[row].copy(), classes[row].copy(), score)
            if score <= threshold or attempt + 1 == ATTEMPTS:
                finished[index] = best.pop(index)
            else:
                retries.append((index, attempt + 1))
        while next_out in finished:
            yield finished.pop(next_out)
            next_out += 1


def pilot_uncertainty(
    bundle: GeneratorBundle, labeler: Labeler, count: int, truncation: float, seed: int
) -> Iterator[Tensor]:
    """The uncertainty of random samples, batch by batch, `count` in all."""
    size, z_dim = batch_size(bundle), bundle.generator.architecture.z_dim
    for start in range(0, count, size):
        z = torch.from_numpy(np.stack([latent(seed, start + row, 0, z_dim) for row in range(size)]))
        yield label_latents(bundle, labeler, z, truncation)[2][: min(size, count - start)]
