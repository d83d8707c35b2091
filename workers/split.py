"""Which part of a dataset a sample belongs to."""

from typing import Literal, get_args

from service.requests import Split

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)

_PRECISION = 10**9
"""To which a share is taken; finer differences are rounding errors of the request."""

_RING = 2**64
_STEP = 11_400_714_819_323_198_485
"""The odd number nearest to 2⁶⁴ / φ. Multiples of the golden ratio fill a ring more evenly than any other sequence."""


def part_of(source: int, split: Split | None) -> Part:
    """The part of generated sample `source` and of every augmented version of it; `train` without a split.

    It depends on these two alone. Among the first n samples a part has the share asked for to within a few samples,
    whatever n is, so that a larger dataset of the same seed keeps the parts of a smaller one.
    """
    if split is None:
        return "train"
    train, val, test = (round(share * _PRECISION) for share in (split.train, split.val, split.test))
    place = (source + 1) * _STEP % _RING * (train + val + test)
    if place < train * _RING:
        return "train"
    return "val" if place < (train + val) * _RING else "test"


def parts_of(split: Split | None) -> tuple[Part, ...]:
    """The parts that a split has a share for."""
    if split is None:
        return ("train",)
    return tuple(part for part in PARTS if getattr(split, part) > 0)
