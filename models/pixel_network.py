"""The labeler's network for pixels, evaluated in tiles that stay in cache.

`Labeler.forward` makes the first layer of all members at full resolution, hundreds of megabytes that every step reads
and writes again. Here a tile goes all the way from features to outputs: a band of rows of one image or, where images
are small, of several one after another. Features lie channels last, so every 1×1 convolution is a matrix product over
pixels: levels below the full resolution are projected at their own and widened across, one small product with
interpolation weights sums and upsamples all of them down the band, the levels of full resolution are accumulated onto
that, and batched products take the members on from there. The last layer and what is made of it, in float32, goes by a
smaller part of the tile at a time.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.folding import MemberGroup, fold
from models.labeler import Labeler
from models.upsampling import Band, bands, widen

LARGEST_WHOLE = 32 * 2**20
"""Bytes of the coarse sides that are projected once for all bands; finer sides are projected band by band, where the
rows that two bands share are projected twice."""

LARGEST_TOGETHER = 16
"""Images that go through the hidden layers at once."""

DECODING_SHARE = 8
"""One part in so many of the budget is for decoding: it goes over its numbers many times, so that they should stay in a
faster cache than the rest needs."""


@dataclass(frozen=True)
class Tile:
    """Which images of a batch, which rows of them, and every member's outputs there: float32
    (M, K + P + D, images, rows, W), overwritten by the next one."""

    images: slice
    rows: slice
    outputs: Tensor


class PixelNetwork:
    """Every member's outputs for each pixel. It keeps its buffers: one caller at a time.

    height, together: rows and images that go through the hidden layers at once; decoded_rows, decoded: those of a tile
    that comes out. They are chosen from shapes and budget alone. What comes out for an image does not depend on its
    place in a batch or on its neighbours.
    """

    def __init__(self, labeler: Labeler, precision: torch.dtype, budget_bytes: int) -> None:
        """
        Args:
            labeler: frozen, on the device to compute on; a later change of its weights is not seen.
            precision: of features and hidden layers; outputs are float32.
            budget_bytes: what a tile may take, with its decoding; one row is worked on, whatever it takes.
        """
        self.architecture, self.precision = labeler.architecture, precision
        self.device = labeler.thresholds.device
        self.groups = fold(labeler, precision)
        self._levels: dict[int, list[int]] = {}
        for level, side in enumerate(self.architecture.feature_sides):
            self._levels.setdefault(side, []).append(level)
        self._below = sorted(side for side in self._levels if side < self.architecture.resolution)
        self._whole = self._sides_projected_whole()
        self._decoding_budget = budget_bytes // DECODING_SHARE
        left = budget_bytes - self._decoding_budget
        resolution, height, together = self.architecture.resolution, 1, 1
        # Half of it: the taller a band, the more rows of the coarser sides enter the product for each of its own.
        while height < resolution and self._hidden_bytes(min(2 * height, resolution)) <= left // 2:
            height = min(2 * height, resolution)
        if height == resolution:
            together = min(LARGEST_TOGETHER, _fitting(self._hidden_bytes(height), left))
        self._plan(height, together)

    @property
    def is_smallest(self) -> bool:
        """Whether tiles are as small as can be."""
        return self.together == self.height == 1

    def halve(self) -> None:
        """Make tiles half as large from now on, unless they are as small as can be."""
        if self.together > 1:
            self._plan(self.height, self.together // 2)
        else:
            self._plan(-(-self.height // 2), 1)

    def tiles(self, features: list[Tensor]) -> Iterator[Tile]:
        """All tiles of a batch, those of the same images one after another, from the top.

        Args:
            features: the style blocks' outputs, coarse to fine, (B, C, r, r); channels last is fastest.
        """
        if not self.groups:
            return
        side, architecture = self.architecture.resolution, self.architecture
        shape = (architecture.members, architecture.pixel_outputs, self.decoded * self.decoded_rows * side)
        everything = torch.empty(shape, device=self.device)
        for start in range(0, len(features[0]), self.together):
            taken = [f[start : start + self.together].to(self.precision) for f in features]
            own = [f.permute(0, 2, 3, 1).contiguous() for f in taken]
            whole = [{s: self._project(g, own, s, slice(0, s)) for s in self._whole} for g in self.groups]
            for band in self._bands:
                pixels = (len(own[0]), band.height, side)
                hidden = [
                    self._hidden(group, self._first_layer(group, own, band, projected)).unflatten(1, pixels)
                    for group, projected in zip(self.groups, whole, strict=True)
                ]
                for images, rows in self._parts(*pixels[:2]):
                    shape = (images.stop - images.start, rows.stop - rows.start, side)
                    outputs = everything[:, :, : math.prod(shape)]
                    for group, x in zip(self.groups, hidden, strict=True):
                        self._outputs(group, x[:, images, rows].flatten(1, 3), outputs[group.members])
                    yield Tile(_moved(images, start), _moved(rows, band.rows.start), outputs.unflatten(2, shape))

    def _parts(self, images: int, height: int) -> Iterator[tuple[slice, slice]]:
        """Which images and rows of so many are decoded one after another."""
        for first in range(0, images, self.decoded):
            for top in range(0, height, self.decoded_rows):
                yield (
                    slice(first, min(first + self.decoded, images)),
                    slice(top, min(top + self.decoded_rows, height)),
                )

    def _sides_projected_whole(self) -> list[int]:
        width = sum(group.width for group in self.groups)
        whole, size = [], 0
        for side in self._below:
            size += side**2 * width * self.precision.itemsize
            if size > LARGEST_WHOLE:
                break
            whole.append(side)
        return whole

    def _hidden_bytes(self, height: int) -> int:
        """Of one image: of the buffers, of what they are filled from, and of what hidden layers take at most."""
        if not self.groups:
            return 0
        resolution, architecture = self.architecture.resolution, self.architecture
        widest = max(group.width for group in self.groups)
        sources = 1 + sum(min(side, height * side // resolution + 2) for side in self._below)
        expanded = architecture.members * architecture.hidden[0] if architecture.shared else 0
        kept = architecture.members * architecture.hidden[-1]
        per_pixel = ((height + 2 * sources) / height * widest + expanded + kept) * self.precision.itemsize
        return int(height * resolution * per_pixel)

    def _decoding_bytes(self) -> int:
        """Of one row of one image: of the last layer in float32, and of what is made of it."""
        architecture = self.architecture
        per_pixel = 4 * architecture.members * (architecture.hidden[-1] + 3 * architecture.pixel_outputs)
        return architecture.resolution * per_pixel

    def _plan(self, height: int, together: int) -> None:
        """Cut the output into bands, and make the buffers of the largest tile."""
        self.height, self.together, resolution = height, together, self.architecture.resolution
        rows = _fitting(self._decoding_bytes(), self._decoding_budget)
        self.decoded_rows = min(rows, height)
        self.decoded = min(_fitting(self.decoded_rows, rows), together)
        self._bands = bands(resolution, self._below, height, self.precision, self.device)
        values = together * resolution * max((group.width for group in self.groups), default=0)
        sources = max(band.weights.shape[1] for band in self._bands)
        self._sources = torch.empty(sources * values, dtype=self.precision, device=self.device)
        self._first = torch.empty(height * values, dtype=self.precision, device=self.device)

    def _project(self, group: MemberGroup, features: list[Tensor], side: int, rows: slice) -> Tensor:
        """The levels of one side through the first layer: (images, rows, side, N)."""
        first, *others = self._levels[side]
        x = features[first][:, rows]
        total = torch.addmm(group.offsets[side], x.flatten(0, 2), group.levels[first])
        for level in others:
            total.addmm_(features[level][:, rows].flatten(0, 2), group.levels[level])
        return total.view(*x.shape[:3], group.width)

    def _first_layer(self, group: MemberGroup, features: list[Tensor], band: Band, whole: dict[int, Tensor]) -> Tensor:
        """The first layer of a tile after its activation, (pixels, N), in a buffer."""
        images, resolution, width = len(features[0]), self.architecture.resolution, group.width
        row = resolution * width
        sources = self._sources[: images * band.weights.shape[1] * row].view(images, -1, resolution, width)
        sources[:, 0] = group.offsets[resolution]
        start = 1
        for side, rows in band.sources.items():
            projected = whole[side][:, rows] if side in whole else self._project(group, features, side, rows)
            widen(projected, sources[:, start : start + projected.shape[1]])
            start += projected.shape[1]
        first = self._first[: images * band.height * row]
        torch.bmm(band.weights.expand(images, -1, -1), sources.flatten(2), out=first.view(images, -1, row))
        first = first.view(-1, width)
        for level in self._levels.get(resolution, ()):
            first.addmm_(features[level][:, band.rows].flatten(0, 2), group.levels[level])
        return rectified(first)

    def _hidden(self, group: MemberGroup, first: Tensor) -> Tensor:
        """From the first layer (pixels, N) to the last hidden one (G, pixels, in)."""
        if group.expand is not None:
            weight, bias = group.expand
            first = rectified(torch.addmm(bias, first, weight))
        elif not group.hidden:
            first = first.clone()  # out of the way of the next group
        x: Tensor = first.unflatten(1, (len(group.output[0]), -1)).transpose(0, 1)
        for weight, bias in group.hidden:
            x = rectified(torch.baddbmm(bias, x, weight))
        return x

    def _outputs(self, group: MemberGroup, x: Tensor, out: Tensor) -> None:
        """From the last hidden layer (G, pixels, in) to the outputs of the group's members, `out` (G, K + P + D,
        pixels)."""
        weight, bias = group.output
        # In float32: rounded logits would tie, and change labels.
        torch.baddbmm(bias, weight, x.float().transpose(1, 2), out=out)


def _fitting(each: int, most: int) -> int:
    """How many things of this size there is room for, at least one. A power of two, as batches are: a GPU may round
    otherwise in a last tile of fewer images."""
    return 1 << (max(1, most // max(1, each)).bit_length() - 1)


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def rectified(x: Tensor) -> Tensor:
    """ReLU in place. As whole numbers, floating-point numbers keep their sign, and CPUs compare them several times as
    fast as halves, which they would convert and convert back."""
    x.view(torch.int32 if x.dtype == torch.float32 else torch.int16).clamp_(min=0)
    return x
