"""A batched ray tracer of ellipsoids over a floor before a wall, with exact labels.

Rays leave the camera as d = (u, v, -1), so that the ray parameter t is the depth along the optical axis. With A and c a
solid's shape and centre in the camera's frame, the ray meets it where t² dᵀAd - 2t dᵀAc + cᵀAc - 1 = 0: two products of
fixed ray monomials with per-solid coefficients, and one square root.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.bears.scene import KEYPOINT_SOLIDS, Scene, draw_scene

HALF_FIELD = 0.215
"""Tangent of half the field of view: image x and y run over [-HALF_FIELD, HALF_FIELD] at depth 1."""

CHUNK_RAYS = 80_000
"""Rays traced at once: few enough for the ray-by-solid arrays to stay in the cache."""

# Fractions of a pixel. The first is the pixel's centre, where the labels are read; colours average all five.
SUBPIXELS = ((0.5, 0.5), (0.25, 0.125), (0.875, 0.25), (0.75, 0.875), (0.125, 0.75))


@dataclass(frozen=True)
class Renders:
    """A batch of rendered bears with their labels, as arrays of the same length B.

    images: uint8 (B, H, W, 3), RGB. parts: uint8 (B, H, W), index into `DRESSED_PARTS` of what the ray through the
    pixel's centre meets. depth: float32 (B, H, W), distance along the optical axis in scene units, finite everywhere.
    keypoints: float32 (B, 9, 3): x and y in pixels (the centre of the top-left pixel is 0.5, 0.5) and visibility as in
    COCO: 0 outside the image, 1 hidden, 2 visible. species: uint8 (B,), index into `SPECIES`.
    """

    images: npt.NDArray[np.uint8]
    parts: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    keypoints: npt.NDArray[np.float32]
    species: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _CameraFrame:
    """The scenes' quantities seen from their cameras, stacked: B scenes, E solids."""

    centers: Tensor  # B, E, 3
    shapes: Tensor  # B, E, 3, 3
    light: Tensor  # B, 3
    up: Tensor  # B, 3: the floor's normal
    height: Tensor  # B: the camera's height above the floor
    front: Tensor  # B, 3: the wall's normal
    wall: Tensor  # B: the camera's distance from the wall
    albedos: Tensor  # B, E + 2, 3: solids, floor, wall
    ambient: Tensor  # B

    @staticmethod
    def of(scenes: Sequence[Scene], dtype: torch.dtype, device: torch.device) -> "_CameraFrame":
        def stack(rows: list[npt.ArrayLike]) -> Tensor:
            return torch.as_tensor(np.stack([np.asarray(row) for row in rows]), dtype=dtype, device=device)

        return _CameraFrame(
            centers=stack([(s.centers - s.eye) @ s.camera.T for s in scenes]),
            shapes=stack([s.camera @ s.shapes @ s.camera.T for s in scenes]),
            light=stack([s.camera @ s.light for s in scenes]),
            up=stack([s.camera @ [0, 1, 0] for s in scenes]),
            height=stack([s.eye[1] for s in scenes]),
            front=stack([s.camera @ [0, 0, 1] for s in scenes]),
            wall=stack([s.eye[2] - s.wall_z for s in scenes]),
            albedos=stack([np.vstack([s.albedos, s.floor_albedo, s.wall_albedo]) for s in scenes]),
            ambient=stack([s.ambient for s in scenes]),
        )


@dataclass(frozen=True)
class _Hits:
    """Where rays meet the scene. nearest: (B, R), a solid's index, E for the floor, E + 1 for the wall. depth: (B, R).
    a, b: (B, E, R) and c: (B, E, 1), the ray's quadratic in each solid."""

    nearest: Tensor
    depth: Tensor
    a: Tensor
    b: Tensor
    c: Tensor


def _trace(frame: _CameraFrame, rays: Tensor) -> _Hits:
    """First hits of rays (R, 3) or (B, R, 3) from the camera; everything else is behind the wall or below the floor."""
    u, v = rays[..., 0], rays[..., 1]
    monomials = torch.stack([u * u, v * v, torch.ones_like(u), 2 * u * v, -2 * u, -2 * v], dim=-2)
    a_matrix = frame.shapes
    quadratic = torch.stack([a_matrix[..., i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))], dim=-1)
    pulled = torch.einsum("beij,bej->bei", a_matrix, frame.centers)
    a = quadratic @ monomials
    b = pulled @ rays.transpose(-1, -2)
    c = (pulled * frame.centers).sum(-1, keepdim=True) - 1
    discriminant = torch.addcmul(b * b, a, c, value=-1)
    # The square root of a negative number is NaN: the ray misses, and the depth becomes infinite.
    depth = ((b - discriminant.sqrt_()) / a).nan_to_num_(nan=torch.inf)
    planes = []
    for normal, distance in ((frame.up, frame.height), (frame.front, frame.wall)):
        towards = -(rays @ normal.unsqueeze(-1)).squeeze(-1)
        reached = distance.unsqueeze(-1) / towards
        planes.append(torch.where(towards > 0, reached, torch.inf))
    nearest_depth, nearest = torch.cat([depth, torch.stack(planes, dim=1)], dim=1).min(dim=1)
    return _Hits(nearest, nearest_depth, a, b, c)


def _shade(frame: _CameraFrame, rays: Tensor, hits: _Hits) -> Tensor:
    """Lambert's law with one distant light, hard shadows and an ambient term. Returns (B, R, 3) in [0, 1]."""
    solids = frame.centers.shape[1]
    batch, count = hits.nearest.shape
    points = hits.depth.unsqueeze(-1) * rays
    index = hits.nearest.clamp(max=solids - 1)
    picked = index.unsqueeze(-1)
    center = frame.centers.gather(1, picked.expand(-1, -1, 3))
    shape = frame.shapes.flatten(2).gather(1, picked.expand(-1, -1, 9)).view(batch, count, 3, 3)
    normal = torch.nn.functional.normalize((shape @ (points - center).unsqueeze(-1)).squeeze(-1), dim=-1)
    normal = torch.where((hits.nearest == solids).unsqueeze(-1), frame.up.unsqueeze(1), normal)
    normal = torch.where((hits.nearest == solids + 1).unsqueeze(-1), frame.front.unsqueeze(1), normal)
    facing = (normal @ frame.light.unsqueeze(-1)).squeeze(-1).clamp_(min=0)

    # From a surface point p = t d towards the light l: (l·A·l) s² + 2 (l·A·(p - c)) s + (p - c)·A·(p - c) - 1 = 0. A
    # convex solid never shades its own lit side, so the solid the point lies on needs no exception.
    t = hits.depth.unsqueeze(1)
    lit = torch.einsum("beij,bj->bei", frame.shapes, frame.light)
    light_light = (lit * frame.light.unsqueeze(1)).sum(-1, keepdim=True)
    light_point = t * (lit @ rays.transpose(-1, -2)) - (lit * frame.centers).sum(-1, keepdim=True)
    outside = torch.addcmul(hits.c, t, torch.addcmul(-2 * hits.b, t, hits.a))
    crossing = torch.addcmul(light_point * light_point, light_light, outside, value=-1)
    shaded = ((crossing > 0) & (light_point < 0)).any(dim=1)

    is_wall = hits.nearest == solids + 1
    direct = torch.where(shaded & ~is_wall, 0.0, facing)
    ambient = frame.ambient.unsqueeze(-1)
    # The wall is lit evenly: a shadow that climbs it would be a border that no class has.
    brightness = torch.where(is_wall, torch.ones_like(direct), ambient + (1.12 - ambient) * direct)
    albedo = frame.albedos.gather(1, hits.nearest.unsqueeze(-1).expand(-1, -1, 3))
    return (albedo * brightness.unsqueeze(-1)).clamp_(0, 1)


def _pixel_rays(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(5·size·size, 3) rays, all first subpixels before all second ones; row by row from the top."""
    grid = torch.arange(size, dtype=dtype, device=device)
    blocks = []
    for dx, dy in SUBPIXELS:
        u = (2 * (grid + dx) / size - 1) * HALF_FIELD
        v = (1 - 2 * (grid + dy) / size) * HALF_FIELD
        plane = torch.stack(torch.meshgrid(v, u, indexing="ij"), dim=-1).flip(-1)
        blocks.append(torch.cat([plane, -torch.ones_like(plane[..., :1])], dim=-1).reshape(-1, 3))
    return torch.cat(blocks)


def _project_keypoints(scenes: Sequence[Scene], frame: _CameraFrame, size: int) -> npt.NDArray[np.float32]:
    """Keypoints in pixels with COCO visibility. A keypoint is visible when the ray to it first meets its own solid, at
    the keypoint and not before."""
    dtype, device = frame.centers.dtype, frame.centers.device
    seen = np.stack([(s.keypoints - s.eye) @ s.camera.T for s in scenes])
    depth = -seen[..., 2]
    u, v = seen[..., 0] / depth, seen[..., 1] / depth
    rays = torch.as_tensor(np.stack([u, v, -np.ones_like(u)], axis=-1), dtype=dtype, device=device)
    hits = _trace(frame, rays)
    own = torch.as_tensor(KEYPOINT_SOLIDS, device=device)
    reached = hits.depth > torch.as_tensor(depth, dtype=dtype, device=device) - 0.02
    visible = ((hits.nearest == own) & reached).cpu().numpy()
    x, y = (u / HALF_FIELD + 1) / 2 * size, (1 - v / HALF_FIELD) / 2 * size
    inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    return np.stack([x, y, np.where(inside, 1 + visible, 0)], axis=-1).astype(np.float32)


@torch.inference_mode()
def render_scenes(
    scenes: Sequence[Scene], size: int = 64, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Renders:
    """Trace scenes at `size` × `size` pixels.

    Args:
        scenes: one or more scenes, all plain or all dressed.
        size: pixels a side.
        dtype: precision of the arithmetic; float32 may place a few boundary pixels in a thousand images differently
            from float64.
        device: where to trace.
    """
    target = torch.device(device)
    rays = _pixel_rays(size, dtype, target)
    parts_of = torch.as_tensor([*scenes[0].parts, 1, 0], dtype=torch.uint8, device=target)
    step = max(1, CHUNK_RAYS // len(rays)) if target.type == "cpu" else 64
    images, parts, depths, keypoints = [], [], [], []
    for start in range(0, len(scenes), step):
        chunk = scenes[start : start + step]
        frame = _CameraFrame.of(chunk, dtype, target)
        hits = _trace(frame, rays)
        colors = _shade(frame, rays, hits).view(len(chunk), len(SUBPIXELS), size, size, 3).mean(1)
        images.append((colors * 255).round_().to(torch.uint8).cpu().numpy())
        parts.append(parts_of[hits.nearest[:, : size * size]].view(-1, size, size).cpu().numpy())
        depths.append(hits.depth[:, : size * size].view(-1, size, size).float().cpu().numpy())
        keypoints.append(_project_keypoints(chunk, frame, size))
    return Renders(
        np.concatenate(images),
        np.concatenate(parts),
        np.concatenate(depths),
        np.concatenate(keypoints),
        np.array([s.species for s in scenes], dtype=np.uint8),
    )


def render(seeds: Sequence[int], size: int = 64, device: str = "cpu", dressed: bool = False) -> Renders:
    """The bears of these seeds, with their labels; each depends on its seed alone.

    Args:
        seeds: one or more.
        size: pixels a side.
        device: where to trace.
        dressed: with accessories; without them, bears are the same.
    """
    return render_scenes([draw_scene(seed, dressed) for seed in seeds], size, device=device)
