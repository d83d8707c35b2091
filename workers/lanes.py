"""Small images side by side: on a CPU, one thread an image beats all threads on one.

Below some size, what the threads of one convolution have to do is over before they have met; batches that go their own
ways, a thread each, use the whole processor. Which batch goes which way changes nothing in it.
"""

from collections.abc import Callable, Iterator
from threading import Event

import torch

from models.bundle import GeneratorBundle
from models.sampling import Sample
from workers.cores import usable_cores
from workers.ordered_map import ordered_map

LARGEST_SIDE = 128
"""Pixels a side up to which images are made in lanes."""

_BLOCK_PIXELS = 2**21
"""Of one lane's turn at most: many batches, so that the last one, which may not be full, does not count."""

_MOST_LANES = 16


Watch = Callable[[], None]
"""Called now and then by what works; raises when it should stop."""


class _Ended(Exception):
    """Nobody wants the samples any more."""


def runs_in_lanes(bundle: GeneratorBundle) -> bool:
    """Whether a thread an image is quicker here."""
    return bundle.device.type == "cpu" and bundle.resolution <= LARGEST_SIDE


def block_size(count: int, lanes: int, resolution: int) -> int:
    """How many images a lane makes in one turn, so that all lanes have the same number of turns: one that works alone
    at the end would keep the others waiting."""
    most = max(1, _BLOCK_PIXELS // resolution**2)
    turns = -(-count // (lanes * most))
    return max(1, -(-count // (lanes * turns))) if count else 1


def in_lanes(
    make: Callable[[range, Watch], Iterator[Sample]], indices: range, bundle: GeneratorBundle, watch: Watch
) -> Iterator[Sample]:
    """What `make` gives for `indices`, in order; made by several threads where that is quicker.

    `make` is called with consecutive parts of `indices`, must give for each what it would give within the whole, and
    calls the watch it is given before each batch. What `watch` raises ends all lanes and is raised here.
    """
    if not runs_in_lanes(bundle):
        yield from make(indices, watch)
        return
    lanes = min(_MOST_LANES, usable_cores())
    block = block_size(len(indices), lanes, bundle.resolution)
    parts = [indices[start : start + block] for start in range(0, len(indices), block)]
    ended = Event()
    raised: list[BaseException] = []

    def look() -> None:
        if ended.is_set():
            raise _Ended
        try:
            watch()
        except BaseException as reason:
            raised.append(reason)
            ended.set()
            raise

    def work(part: range) -> list[Sample]:
        torch.set_num_threads(1)  # of the calling thread alone
        return list(make(part, look))

    results = ordered_map(work, parts, lanes, ahead=lanes + 1)
    try:
        for samples in results:
            yield from samples
    except _Ended:
        raise raised[0] from None
    finally:
        ended.set()
        results.close()
