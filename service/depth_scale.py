"""The scale of a project's depth: what one step of a 16-bit pixel is worth."""

from collections.abc import Mapping
from decimal import ROUND_UP, Context, Decimal

import numpy as np
import numpy.typing as npt

STEPS = 65535
"""The largest pixel value of 16 bits."""

_DIGITS = 4
_COARSE = 1 / 500
"""The error of rounding to steps, as a share of the largest depth, that is refused."""


def choose_scale(largest: float) -> float:
    """The scale at which `largest` is at most the last step, rounded up to four digits."""
    exact = Decimal(largest) / STEPS
    return float(Context(prec=_DIGITS, rounding=ROUND_UP).create_decimal(exact))


def depth_of(steps: int, scale: float) -> float:
    """What a pixel of so many steps says, as one writes it: 3832 steps of 0.001 are 3.832, and not the
    3.8320000000000003 that floats make of them."""
    return float(steps * Decimal(repr(scale)))


def to_steps(depth: npt.NDArray[np.float32], scale: float) -> npt.NDArray[np.uint16]:
    """The pixels that say `depth`, NaN as 0. What is known stays known: the least is 1."""
    steps = np.clip(np.rint(depth.astype(np.float64) / scale), 1, STEPS)
    return np.where(np.isnan(depth), 0, steps).astype(np.uint16)


def unfit_depths(depths: Mapping[str, npt.NDArray[np.float32]], scale: float) -> tuple[dict[str, float], list[str]]:
    """The names of those `depths` that `scale` cannot say.

    The first are those that reach beyond the last step, with their largest depth; the second those that rounding to
    steps would change too much.
    """
    beyond: dict[str, float] = {}
    coarse = []
    for name, depth in depths.items():
        known = depth[~np.isnan(depth)].astype(np.float64)
        if not known.size:
            continue
        largest = float(known.max())
        if largest > (STEPS + 0.5) * scale:
            beyond[name] = largest
        elif np.abs(known - scale * np.maximum(1, np.rint(known / scale))).max() > _COARSE * largest:
            coarse.append(name)
    return beyond, coarse
