"""What a toy bear is made of, and how one is drawn from a seed.

World frame: x to the viewer's right, y up, z towards the viewer; the floor is y = 0. One unit is roughly the height
of a bear's body and legs. Left and right are the bear's own: it faces the viewer, so its left is at larger x.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.bears.accessories import ACCESSORIES, ACCESSORY_COLORS, SOLID_ACCESSORIES, draw_dress
from models.bears.primitives import Array, hsv, luminance, rotation

PARTS = ("background", "floor", "body", "belly", "head", "ears", "snout", "eyes and nose", "arms", "legs")
"""Classes of the part mask, by index."""

PART_COLORS = (
    "#30343f", "#8c6f56", "#c0392b", "#f5b041", "#e8743b", "#8e44ad", "#f7dc6f", "#17202a", "#2e86de", "#27ae60",
)  # fmt: skip
"""A colour for each part, for pictures and palettes."""

DRESSED_PARTS = (*PARTS, *ACCESSORIES)
"""Classes of the part mask of dressed bears, by index."""

DRESSED_PART_COLORS = (*PART_COLORS, *ACCESSORY_COLORS)

SPECIES = ("brown bear", "panda", "koala")

SOLIDS = (
    "body", "belly", "head", "ear_left", "ear_right", "snout", "nose", "eye_left", "eye_right",
    "arm_left", "arm_right", "leg_left", "leg_right",
)  # fmt: skip
"""The ellipsoids of a bear, in the order of every array below."""

SOLID_PARTS = np.array([2, 3, 4, 5, 5, 6, 7, 7, 7, 8, 8, 9, 9])
"""Index into `PARTS` of each solid."""

DRESSED_SOLID_PARTS = np.concatenate([SOLID_PARTS, len(PARTS) + SOLID_ACCESSORIES])
"""Index into `DRESSED_PARTS` of each solid of a dressed bear, accessories last."""

KEYPOINTS = (
    "left_ear", "right_ear", "left_eye", "right_eye", "nose", "left_paw", "right_paw", "left_foot", "right_foot",
)  # fmt: skip
KEYPOINT_SOLIDS = np.array([3, 4, 7, 8, 6, 9, 10, 11, 12])
"""The solid on whose surface each keypoint lies."""

KEYPOINT_MIRROR = np.array([1, 0, 3, 2, 4, 6, 5, 8, 7])
"""Which keypoint each one becomes when the image is mirrored."""


@dataclass(frozen=True)
class Scene:
    """One bear, its room, light and camera; float64 throughout.

    With E solids, 13 of a plain bear and 21 of a dressed one: centers: (E, 3) centres of the solids. shapes: (E, 3, 3)
    symmetric positive matrices A; the surface of solid i is (x - c)ᵀ A (x - c) = 1. albedos: (E, 3) in [0, 1]. parts:
    (E,), index into `DRESSED_PARTS`. keypoints: (9, 3) points on the bear's surface. wall_z: where the floor ends and
    the background begins. light: unit vector towards the light. eye, camera: the camera's place and its rows right, up,
    backward. species: index into `SPECIES`.
    """

    species: int
    centers: Array
    shapes: Array
    albedos: Array
    parts: npt.NDArray[np.int64]
    keypoints: Array
    floor_albedo: Array
    wall_albedo: Array
    wall_z: float
    light: Array
    ambient: float
    eye: Array
    camera: Array


def _fur(random: np.random.Generator, species: int) -> tuple[Array, Array, Array]:
    """Colours of body, limbs and ears, and of the pale patches (belly, snout).

    The species' ranges touch: a generator follows a connected range of colours, and drops one that stands apart.
    """
    warm = random.uniform(0.03, 0.11)
    if species == 0:
        body = hsv(warm, random.uniform(0.25, 0.75), random.uniform(0.42, 0.72))
        return body, 0.74 * body, 0.35 * body + 0.65 * np.array([0.98, 0.86, 0.66])
    if species == 1:
        body = hsv(warm, random.uniform(0.0, 0.22), random.uniform(0.80, 0.96))
        return body, hsv(warm, random.uniform(0.0, 0.5), random.uniform(0.12, 0.30)), 0.78 * body
    # From a warm grey through a neutral one to a bluish one.
    tint = random.uniform(-0.36, 0.24)
    body = hsv(warm if tint < 0 else random.uniform(0.56, 0.66), abs(tint), random.uniform(0.48, 0.72))
    return body, 0.74 * body, 0.4 * body + 0.6 * np.array([0.97, 0.95, 0.93])


def _room(random: np.random.Generator, fur: Array, limbs: Array) -> tuple[Array, Array]:
    """Floor and wall colours that differ visibly from each other and from the fur: a border that cannot be seen
    cannot be learnt."""
    while True:
        floor = hsv(random.uniform(), random.uniform(0.2, 0.55), random.uniform(0.35, 0.85))
        wall = hsv(random.uniform(), random.uniform(0.2, 0.6), random.uniform(0.45, 0.95))
        apart = min(np.abs(a - b).sum() for a in (floor, wall) for b in (fur, limbs))
        if abs(luminance(floor) - luminance(wall)) > 0.2 and apart > 0.35:
            return floor, wall


def draw_scene(seed: int, dressed: bool = False) -> Scene:
    """The bear of this seed; the same one on every machine.

    Args:
        seed: any non-negative integer.
        dressed: with accessories, which change nothing about the bear and its room.
    """
    random = np.random.Generator(np.random.PCG64([seed, 0xBEA5]))
    species = int(random.integers(len(SPECIES)))
    koala = species == 2
    fur, limbs, pale = _fur(random, species)
    floor_albedo, wall_albedo = _room(random, fur, limbs)

    girth = random.uniform(0.92, 1.12)
    yaw = random.uniform(-0.5, 0.5)
    head_turn = rotation(1, random.uniform(-0.35, 0.35)) @ rotation(2, random.uniform(-0.15, 0.15))
    neck = np.array([0.0, 1.0, 0.0])

    centers, radii, turns = np.zeros((13, 3)), np.zeros((13, 3)), np.tile(np.eye(3), (13, 1, 1))
    tips = np.zeros((9, 3))

    def place(name: str, center: Array, radius: tuple[float, float, float], turn: Array | None = None) -> None:
        index = SOLIDS.index(name)
        centers[index], radii[index] = center, radius
        if turn is not None:
            turns[index] = turn

    def on_head(offset: tuple[float, float, float]) -> Array:
        point: Array = neck + head_turn @ np.array(offset)
        return point

    place("body", np.array([0, 0.60, 0]), (0.40 * girth, 0.46, 0.33 * girth))
    place("belly", np.array([0, 0.56, 0.12 * girth]), (0.27 * girth, 0.31, 0.25 * girth))
    place("head", on_head((0, 0.26, 0.04)), (0.40, 0.34, 0.34), head_turn)
    ear_radius = random.uniform(0.18, 0.22) if koala else random.uniform(0.135, 0.165)
    low = random.uniform(0.6, 1.0) if koala else random.uniform(0.0, 0.3)
    ear_place = (0.30 + 0.10 * low, 0.53 - 0.17 * low, 0.0)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        ear_center = (sign * ear_place[0], ear_place[1], ear_place[2])
        place(f"ear_{side}", on_head(ear_center), (ear_radius, ear_radius, 0.09), head_turn)
        outward = np.array([ear_place[0], ear_place[1] - 0.2, 0.0]) * [sign, 1, 1]
        outward = ear_radius * outward / np.linalg.norm(outward)
        tips[KEYPOINTS.index(f"{side}_ear")] = on_head(tuple(np.add(ear_center, outward)))
        place(f"eye_{side}", on_head((sign * 0.15, 0.32, 0.34)), (0.055, 0.06, 0.045), head_turn)
        tips[KEYPOINTS.index(f"{side}_eye")] = on_head((sign * 0.15, 0.32, 0.385))
    place("snout", on_head((0, 0.17, 0.33)), (0.17, 0.13, 0.13), head_turn)
    nose = (0.075, 0.105, 0.06) if koala else (0.07, 0.05, 0.05)
    nose_center = (0.0, 0.22 if koala else 0.225, 0.44)
    place("nose", on_head(nose_center), nose, head_turn)
    tips[KEYPOINTS.index("nose")] = on_head((0.0, nose_center[1], nose_center[2] + nose[2]))

    for side, sign in (("left", 1.0), ("right", -1.0)):
        lift, swing = random.uniform(-1.0, 0.9), random.uniform(0.0, 0.7)
        # The arm's long axis, x in its own frame, points from the shoulder to the paw.
        turn = rotation(1, -swing) @ rotation(2, lift)
        along = (turn @ np.array([1.0, 0, 0])) * [sign, 1, 1]
        turn = np.diag([sign, 1, 1]) @ turn @ np.diag([sign, 1, 1])
        shoulder = np.array([sign * 0.30 * girth, 0.84, 0.03])
        place(f"arm_{side}", shoulder + 0.22 * along, (0.32, 0.135, 0.135), turn)
        tips[KEYPOINTS.index(f"{side}_paw")] = shoulder + 0.54 * along

        spread, raised = random.uniform(0.0, 0.55), random.uniform(-0.25, 0.25)
        turn = rotation(1, spread) @ rotation(0, -raised)
        forward = (turn @ np.array([0, 0, 1.0])) * [sign, 1, 1]
        turn = np.diag([sign, 1, 1]) @ turn @ np.diag([sign, 1, 1])
        hip = np.array([sign * 0.24 * girth, 0.19, 0.10])
        place(f"leg_{side}", hip + 0.18 * forward, (0.16, 0.17, 0.30), turn)
        tips[KEYPOINTS.index(f"{side}_foot")] = hip + 0.48 * forward

    albedos = np.zeros((13, 3))
    for index, name in enumerate(SOLIDS):
        part = name.split("_")[0]
        albedos[index] = {"body": 0.94 * fur, "head": np.minimum(1.04 * fur, 1), "belly": pale, "snout": pale}.get(
            part, limbs
        )
        if part in ("eye", "nose"):
            albedos[index] = (0.06, 0.05, 0.07)

    parts = SOLID_PARTS
    if dressed:
        dress = draw_dress(seed, girth, neck, head_turn, (fur, limbs, pale, floor_albedo, wall_albedo))
        centers, radii = np.concatenate([centers, dress.centers]), np.concatenate([radii, dress.radii])
        turns = np.concatenate([turns, dress.turns])
        albedos = np.concatenate([albedos, np.tile(dress.albedo, (len(dress.centers), 1))])
        parts = DRESSED_SOLID_PARTS

    facing = rotation(1, yaw)
    turns = facing @ turns
    shapes = turns @ (radii[:, :, None] ** -2 * np.swapaxes(turns, 1, 2))

    azimuth, elevation = random.uniform(-1.0, 1.0), random.uniform(0.6, 1.1)
    light = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    pitch = random.uniform(0.06, 0.30)
    target = np.array([random.uniform(-0.06, 0.06), random.uniform(0.80, 0.90), 0.0])
    camera = rotation(0, pitch)
    return Scene(
        species=species,
        centers=centers @ facing.T,
        shapes=shapes,
        albedos=albedos,
        parts=parts,
        keypoints=tips @ facing.T,
        floor_albedo=floor_albedo,
        wall_albedo=wall_albedo,
        wall_z=-random.uniform(0.7, 2.2),
        light=light,
        ambient=random.uniform(0.35, 0.5),
        eye=target + camera.T @ np.array([0, 0, random.uniform(4.3, 4.8)]),
        camera=camera,
    )
