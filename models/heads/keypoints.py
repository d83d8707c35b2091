"""The members' heatmaps → points with sub-pixel coordinates and visibility.

A heatmap is a distribution over the pixels, trained against a Gaussian around the point. Coordinates count from the top
left corner of the image; the centre of its first pixel is at (0.5, 0.5).
"""

import torch
from torch import Tensor

SIGMA_SHARE = 1 / 40
"""Standard deviation of the target around a point, as a share of the resolution."""

WINDOW_SIGMAS = 3
"""A point is the centre of mass of its heatmap within so many standard deviations of the peak."""


def heatmap_sigma(resolution: int) -> float:
    """Standard deviation of a target in pixels."""
    return max(1.0, resolution * SIGMA_SHARE)


def gaussian_targets(points: Tensor, resolution: int, seen: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Distributions around points of x and y in pixels; each sums to one.

    Args:
        points: (…, 2 or more).
        seen: for points (B, P, 2 or more), the rows (B, h) and columns (B, w) that count; by default all do.

    Returns:
        (…, H, W), or (B, P, h, w) over what is seen.
    """
    everything = torch.arange(resolution, device=points.device)
    rows, columns = (places.unsqueeze(1) for places in seen) if seen else (everything, everything)
    sigma = heatmap_sigma(resolution)
    across = torch.softmax(-((columns + 0.5 - points[..., :1]) ** 2) / (2 * sigma**2), dim=-1)
    down = torch.softmax(-((rows + 0.5 - points[..., 1:2]) ** 2) / (2 * sigma**2), dim=-1)
    return down.unsqueeze(-1) * across.unsqueeze(-2)


def decode_points(logits: Tensor) -> Tensor:
    """The points of heatmaps: the centre of mass of exp(logit) in a square window around the largest one.

    Args:
        logits: (…, H, W) of square images.

    Returns:
        float32 (…, 2), x and y in pixels.
    """
    side = logits.shape[-1]
    radius = round(WINDOW_SIGMAS * heatmap_sigma(side))
    flat = logits.flatten(-2).float()
    top, peak = flat.max(dim=-1)
    reach = torch.arange(-radius, radius + 1, device=logits.device)
    row, column = (peak // side).unsqueeze(-1), (peak % side).unsqueeze(-1)
    rows, columns = row + reach, column + reach
    # At a border the window narrows on both sides: what is cut off on one would pull the centre to the other.
    inside = _within(reach, row, side).unsqueeze(-1) & _within(reach, column, side).unsqueeze(-2)
    places = rows.clamp(0, side - 1).unsqueeze(-1) * side + columns.clamp(0, side - 1).unsqueeze(-2)
    window = flat.gather(-1, places.flatten(-2)).view_as(inside)
    weight = torch.where(inside, (window - top[..., None, None]).exp(), 0.0)
    total = weight.sum(dim=(-2, -1))
    x = (weight.sum(dim=-2) * (columns + 0.5)).sum(dim=-1) / total
    y = (weight.sum(dim=-1) * (rows + 0.5)).sum(dim=-1) / total
    return torch.stack([x, y], dim=-1)


def _within(reach: Tensor, place: Tensor, side: int) -> Tensor:
    """Which offsets from a place along an axis stay inside on either side of it."""
    return reach.abs() <= torch.minimum(place, side - 1 - place)


def keypoints_of(heatmaps: Tensor, visibility: Tensor) -> Tensor:
    """The ensemble's points: those of the members' mean logits, with the visibility of largest mean probability.

    Args:
        heatmaps: (B, M, P, H, W). visibility: (B, M, P, 3).

    Returns:
        float32 (B, P, 3): x, y in pixels, and 0, 1 or 2 as COCO has it.
    """
    points = decode_points(heatmaps.mean(dim=1))
    seen = visibility.softmax(dim=-1).mean(dim=1).argmax(dim=-1)
    return torch.cat([points, seen.unsqueeze(-1).to(points.dtype)], dim=-1)


def points_uncertainty(heatmaps: Tensor, visibility: Tensor) -> Tensor:
    """How far apart the members place the points: the root mean square distance in pixels from the members' mean place,
    averaged over the points, each counted as much as it is likely to be in the image: (B,)."""
    places = decode_points(heatmaps)
    variance = (places - places.mean(dim=1, keepdim=True)).square().sum(dim=-1).mean(dim=1)
    present = 1 - visibility.softmax(dim=-1).mean(dim=1)[..., 0]
    return (variance.sqrt() * present).sum(dim=1) / present.sum(dim=1).clamp(min=1e-6)
