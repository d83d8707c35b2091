"""What dressed bears wear and play with: a hat, a scarf or a bow tie, a ball, each in one image out of five.

Bears without them are so alike that 50 labeled ones teach a network nearly all that 10,000 do. Parts that few of the
seeds have are what tells sources of labels apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.bears.primitives import Array, hsv, rotation

ACCESSORIES = ("hat", "scarf", "bow tie", "ball")
"""Classes of the part mask that only dressed bears have, after `PARTS`."""

ACCESSORY_COLORS = ("#e056fd", "#ff6b81", "#7bed9f", "#f9ca24")
"""A colour for each, for pictures and palettes."""

ACCESSORY_SOLIDS = ("brim", "crown", "ring", "tail", "knot", "wing_left", "wing_right", "ball")
"""The ellipsoids of the accessories, in the order of `Dress`'s arrays."""

SOLID_ACCESSORIES = np.array([0, 0, 1, 1, 2, 2, 2, 3])
"""Index into `ACCESSORIES` of each solid."""

SHARE = 0.2
"""Each accessory is in this share of the images. Scarf and bow tie exclude each other."""

_NOWHERE = (0.0, -5.0, 0.0)
"""Below the floor, where no ray and no shadow comes: the place of what a bear does not wear."""


@dataclass(frozen=True)
class Dress:
    """The accessories' ellipsoids in the bear's own frame. centers, radii: (8, 3). turns: (8, 3, 3). albedo: (3,), one
    colour for all of them."""

    centers: Array
    radii: Array
    turns: Array
    albedo: Array


def _accent(random: np.random.Generator, others: Sequence[Array]) -> Array:
    """A bright colour apart from the bear's, the floor's and the wall's: what cannot be seen cannot be learnt."""
    while True:
        color = hsv(random.uniform(), random.uniform(0.65, 0.95), random.uniform(0.6, 0.95))
        if min(np.abs(color - other).sum() for other in others) > 0.45:
            return color


def draw_dress(seed: int, girth: float, neck: Array, head_turn: Array, others: Sequence[Array]) -> Dress:
    """What the bear of this seed wears; the same on every machine.

    Args:
        seed: of the bear; its own random numbers stay as they are without accessories.
        girth: how stout its body is.
        neck: (3,), the point that its head turns about.
        head_turn: (3, 3), the head's rotation.
        others: colours that the accessories must differ from.
    """
    random = np.random.Generator(np.random.PCG64([seed, 0xACCE55]))
    count = len(ACCESSORY_SOLIDS)
    centers, radii = np.tile(_NOWHERE, (count, 1)), np.full((count, 3), 0.01)
    turns = np.tile(np.eye(3), (count, 1, 1))

    def place(name: str, center: Array, radius: tuple[float, float, float], turn: Array | None = None) -> None:
        index = ACCESSORY_SOLIDS.index(name)
        centers[index], radii[index] = center, radius
        if turn is not None:
            turns[index] = turn

    albedo = _accent(random, others)
    has_hat, has_ball = random.uniform(size=2) < SHARE
    around_neck = random.uniform()
    if has_hat:
        tilt = head_turn @ rotation(2, random.uniform(-0.25, 0.25))
        place("brim", neck + tilt @ [0.0, 0.56, 0.04], (0.31, 0.04, 0.30), tilt)
        place("crown", neck + tilt @ [0.0, 0.62, 0.04], (0.20, random.uniform(0.14, 0.20), 0.20), tilt)
    if around_neck < SHARE:
        place("ring", neck + np.array([0.0, -0.04, 0.03]), (0.33 * girth, 0.095, 0.31 * girth))
        side = float(random.choice([-1.0, 1.0]))
        place("tail", np.array([side * 0.13, 0.79, 0.30 * girth]), (0.075, random.uniform(0.14, 0.20), 0.06))
    elif around_neck < 2 * SHARE:
        place("knot", np.array([0.0, 0.89, 0.31 * girth]), (0.05, 0.05, 0.05))
        wing = random.uniform(0.10, 0.13)
        for name, sign in (("wing_left", 1.0), ("wing_right", -1.0)):
            place(name, np.array([sign * (0.03 + wing), 0.89, 0.29 * girth]), (wing, 0.09, 0.05))
    if has_ball:
        radius = random.uniform(0.14, 0.21)
        side = float(random.choice([-1.0, 1.0]))
        center = np.array([side * random.uniform(0.58, 0.72), radius, random.uniform(0.2, 0.5)])
        place("ball", center, (radius, radius, radius))
    return Dress(centers, radii, turns, albedo)
