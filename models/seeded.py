"""Weights that begin at random, the same every time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TURN = threading.Lock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the CPU's own random numbers follow from `seed`; afterwards they go on as if nothing had been. One thread
    after the other, for all of them draw from one generator."""
    with _TURN, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
