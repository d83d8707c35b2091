"""Bilinear upsampling (`align_corners=False`) of a band of rows: an interpolation across, a matrix product down."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Band:
    """Rows `rows` of the output, and the rows of each coarser side that they are made of.

    sources: side → its rows. weights: (len(rows), 1 + rows of all sides): the first column is one, for an offset that
    every row gets; then the columns of each side in turn.
    """

    rows: slice
    sources: dict[int, slice]
    weights: Tensor

    @property
    def height(self) -> int:
        return len(self.weights)


def bands(resolution: int, sides: list[int], height: int, precision: torch.dtype, device: torch.device) -> list[Band]:
    """The output cut into bands of `height` rows, the last one of what is left; `sides` are below the resolution."""
    return [
        _band(slice(top, min(top + height, resolution)), resolution, sides, precision, device)
        for top in range(0, resolution, height)
    ]


def _band(rows: slice, resolution: int, sides: list[int], precision: torch.dtype, device: torch.device) -> Band:
    sources, columns = {}, [torch.ones(rows.stop - rows.start, 1, dtype=torch.float64)]
    for side in sides:
        matrix = interpolation(side, resolution)[rows]
        used = matrix.any(dim=0).nonzero().flatten()
        source = slice(int(used[0]), int(used[-1]) + 1)
        sources[side] = source
        columns.append(matrix[:, source])
    return Band(rows, sources, torch.cat(columns, dim=1).to(device, precision))


def interpolation(side: int, resolution: int) -> Tensor:
    """The float64 matrix (resolution, side) that upsamples one axis."""
    places = ((torch.arange(resolution, dtype=torch.float64) + 0.5) * (side / resolution) - 0.5).clamp(min=0)
    below = places.floor().long()
    share = places - below
    matrix = torch.zeros(resolution, side, dtype=torch.float64)
    matrix.scatter_add_(1, below[:, None], 1 - share[:, None])
    matrix.scatter_add_(1, (below + 1).clamp(max=side - 1)[:, None], share[:, None])
    return matrix


def widen(rows: Tensor, out: Tensor) -> None:
    """Upsample rows (B, n, w, C) along w into `out` (B, n, W, C); contiguous ones are fastest."""
    if rows.shape == out.shape:
        out.copy_(rows)
        return
    target = out if out.is_contiguous() else torch.empty_like(out, memory_format=torch.contiguous_format)
    # Rows as a batch of images one pixel high: the kernel runs them in parallel, and vectorised over channels.
    high, wide = (x.flatten(0, 1).permute(0, 2, 1).unsqueeze(2) for x in (rows, target))
    torch.ops.aten.upsample_bilinear2d.out(high, [1, out.shape[2]], False, out=wide)
    if target is not out:
        out.copy_(target)
