"""The random numbers of augmentation: of one version of one sample, and of each step in it."""

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator, Philox


def sample_random(job_seed: int, index: int, version: int) -> Generator:
    """What version `version` of sample `index` is augmented with; it depends on these three alone.

    Drawing the sample itself counts from [0, 0, 0, attempt] with the same key, and never gets as far as these numbers.
    """
    return Generator(Philox(key=[job_seed, index], counter=[0, 0, 1, version]))


def step_streams(random: Generator, steps: int) -> Iterator[Generator]:
    """A stream for each step. It depends on the step's place alone, so no step disturbs what another one draws."""
    for key in random.integers(0, 2**64, (steps, 2), dtype=np.uint64):
        yield Generator(Philox(key=key))


def drawn(limits: tuple[float, float], random: Generator) -> float:
    """A number between the two, each as likely. They may be equal, down to 0.0 and -0.0, at which numpy's own balks."""
    return limits[0] + (limits[1] - limits[0]) * random.random()
