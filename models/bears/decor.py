"""What varies around a toy bear and on it: patterned walls, rugs, spotted fur, balls that lie about.

Fifty images cannot show all of it, so that a network trained on them alone meets things it has never seen.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

BALLS = 2
"""Solids behind those of the bear; one that is absent lies far below the floor."""

BELOW = np.array([0.0, -50.0, 0.0])


@dataclass(frozen=True)
class Decor:
    """How the surfaces of a scene are patterned. A pattern mixes the surface's colour with another one.

    wall_color: (3,), mixed in by ½ + ½ tanh(wall_edge · sin(wall_wave · (x, y, 1))). floor_color: (3,), of the rug, a
    disc of radius `rug` around `rug_center` (x, z); radius 0 for none. spots: (3, 3) wave vectors in the world's frame
    and spot_phase: (3,); fur is darker by `spot_depth`, a share, where the sum of the three sines is large. All
    float64.
    """

    wall_color: Array
    wall_wave: Array
    wall_edge: float
    floor_color: Array
    rug: float
    rug_center: Array
    spots: Array
    spot_phase: Array
    spot_depth: float

    def mirrored(self) -> "Decor":
        """Reflected at x = 0."""
        flip = np.array([-1.0, 1.0, 1.0])
        return Decor(
            self.wall_color,
            self.wall_wave * flip,
            self.wall_edge,
            self.floor_color,
            self.rug,
            self.rug_center * [-1, 1],
            self.spots * flip,
            self.spot_phase,
            self.spot_depth,
        )


def _apart(color: Array, others: list[Array]) -> bool:
    """Whether a colour differs visibly from all others."""
    return min(float(np.abs(color - other).sum()) for other in others) > 0.35


def _luminance(color: Array) -> float:
    return float(color @ np.array([0.299, 0.587, 0.114]))


def draw_decor(random: np.random.Generator, floor: Array, wall: Array, furs: list[Array]) -> Decor:
    """The decor of a room with these colours of floor and wall, and with a bear of these furs.

    What it adds keeps the borders of the parts visible: wall and floor stay apart in brightness, both stay apart from
    the fur.
    """
    brighter = _luminance(wall) > _luminance(floor)

    def second(own: Array, other: Array, above: bool) -> Array:
        """A colour for the pattern of a surface; the surface's own if none is found."""
        for _ in range(60):
            color = random.uniform(0.15, 0.95, 3)
            gap = _luminance(color) - _luminance(other)
            if (gap if above else -gap) > 0.2 and _apart(color, furs) and np.abs(color - own).sum() > 0.3:
                return color
        return own

    wall_color, rug_color = second(wall, floor, brighter), second(floor, wall, not brighter)
    kind = random.choice(["gradient", "stripes", "plain"], p=[0.3, 0.25, 0.45])
    tilt, turn = random.uniform(-0.6, 0.6), random.uniform(-np.pi, np.pi)
    stripes = 2 * np.pi / random.uniform(0.45, 1.0)
    wall_wave, wall_edge = np.array([stripes * np.cos(tilt), stripes * np.sin(tilt), turn]), 4.0
    if kind == "gradient":
        # From one colour above to another below.
        wall_wave, wall_edge = np.array([0.0, random.uniform(1.2, 2.0), random.uniform(-2.2, -1.0)]), 1.2
    rug = random.uniform(0.8, 1.3) if random.uniform() < 0.4 else 0.0
    spots = 2 * np.pi / random.uniform(0.34, 0.6) * np.linalg.qr(random.standard_normal((3, 3)))[0]
    return Decor(
        wall_color=wall if kind == "plain" else wall_color,
        wall_wave=wall_wave,
        wall_edge=wall_edge,
        floor_color=rug_color,
        rug=rug,
        rug_center=random.uniform(-0.15, 0.15, 2),
        spots=spots,
        spot_phase=random.uniform(-np.pi, np.pi, 3),
        spot_depth=random.uniform(0.25, 0.5) if random.uniform() < 0.35 else 0.0,
    )


def draw_balls(random: np.random.Generator, colors: list[Array]) -> tuple[Array, Array, Array]:
    """Centres (2, 3), radii (2,) and albedos (2, 3) of the balls on the floor, one on either side at most.

    Args:
        colors: those that a ball has to differ from.
    """
    centers, radii, albedos = np.tile(BELOW, (BALLS, 1)), np.full(BALLS, 0.1), np.zeros((BALLS, 3))
    for place, sign in enumerate((1.0, -1.0)):
        if random.uniform() > 0.35:
            continue
        radius = random.uniform(0.14, 0.24)
        for _ in range(60):
            albedo = random.uniform(0.05, 0.95, 3)
            if _apart(albedo, colors):
                radii[place], albedos[place] = radius, albedo
                centers[place] = (sign * random.uniform(0.62, 0.85), radius, random.uniform(-0.2, 0.5))
                break
    return centers, radii, albedos
