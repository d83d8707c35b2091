"""Working on a batch in parts, where a GPU has no room for all of it at once."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Parts:
    """How many parts batches are worked on in: one, until a GPU runs out of memory; then twice as many from then on."""

    def __init__(self) -> None:
        self.count = 1

    def each(self, codes: Tensor, work: Callable[[Tensor], T]) -> list[T]:
        """What `work` makes of the parts of `codes` (B, …), in their order; it may be called again for the same ones.

        Raises:
            OutOfMemoryError: there is no room for a single one.
        """
        while True:
            try:
                return [work(part) for part in codes.chunk(self.count)]
            except torch.OutOfMemoryError:
                if self.count >= len(codes):
                    raise
            # Only here has the exception let go of what was being worked on.
            torch.cuda.empty_cache()
            self.count *= 2
