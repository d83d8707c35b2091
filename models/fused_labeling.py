"""The labeler's network for pixels and what is made of its outputs, in one pass of compiled code.

PyTorch's operators write every layer to memory and read it again; for small networks that takes longer than the
products. `models/fused_labeling.c` takes sixteen pixels at a time from features to labels. It is built where the
package is installed, if there is a C compiler, and runs on CPUs that multiply bfloat16 with AVX-512. Everything else is
done by `models.pixel_network`, to the same labels but for rounding.
"""

import ctypes
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from models.compiled import compiled
from models.folding import fold
from models.label_maps import LabelMaps
from models.labeler import Labeler, LabelerArchitecture

# These say what the C file says.
_INTERFACE, _LANES, _PLACE_BYTES = 1, 16, 12
_MOST_SIDES, _MOST_SHARED, _MOST_HIDDEN, _MOST_OUTPUTS, _MOST_MEMBERS = 12, 128, 96, 320, 64


class _Network(ctypes.Structure):
    """`struct network`: sizes, padded with zeros, and where the weights are."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("resolution", "shared", "members", "hidden", "outputs", "classes")),
        *((name, ctypes.c_int32) for name in ("points", "depth", "levels", "sides")),
        ("channels", ctypes.c_int32 * _MOST_SIDES),
        ("side", ctypes.c_int32 * _MOST_SIDES),
        ("level_weights", ctypes.c_void_p * _MOST_SIDES),
        *((name, ctypes.c_void_p) for name in ("offset", "hidden_weights", "hidden_offset")),
        *((name, ctypes.c_void_p) for name in ("output_weights", "output_offset")),
    )


class _Image(ctypes.Structure):
    """`struct image`: where an image's features are, and where its labels go."""

    _fields_ = (
        ("features", ctypes.c_void_p * _MOST_SIDES),
        ("projected", ctypes.c_void_p * _MOST_SIDES),
        *((name, ctypes.c_void_p) for name in ("mask", "divergence", "heatmaps", "depth", "depth_spread")),
    )


@cache
def _library() -> ctypes.CDLL | str:
    """The compiled code, or why there is none to use."""
    facts = [_INTERFACE, _LANES, _MOST_SIDES, _MOST_SHARED, _MOST_HIDDEN, _MOST_OUTPUTS, _MOST_MEMBERS]
    facts += [ctypes.sizeof(_Network), ctypes.sizeof(_Image), _PLACE_BYTES]
    library = compiled(Path(__file__).parent, "_fused_labeling", facts)
    if isinstance(library, str) or library.is_supported():
        return library
    return "this processor has no AVX-512 for bfloat16"


def availability() -> str:
    """`available`, or why the compiled code is not."""
    library = _library()
    return library if isinstance(library, str) else "available"


class FusedPixels:
    """A labeler's pixels, labeled by compiled code. What it says of an image depends neither on the image's place in a
    batch nor on its neighbours, nor on the number of threads."""

    def __init__(self, labeler: Labeler, library: ctypes.CDLL) -> None:
        """
        Args:
            labeler: frozen, one that `fused` takes; a later change of its weights is not seen.
            library: the compiled code.
        """
        self._architecture, self._library = labeler.architecture, library
        architecture = self._architecture
        (group,) = fold(labeler, torch.float32)
        assert group.expand is not None  # noqa: S101 - `fused` took it
        members, resolution = architecture.members, architecture.resolution
        width, outputs = architecture.hidden[0], architecture.pixel_outputs
        self._shared, hidden = _up(architecture.shared, _LANES), _up(width, 8)
        extra = self._shared - architecture.shared
        levels = [torch.nn.functional.pad(level, (0, extra)) for level in group.levels]
        self._whole = [level for level, side in enumerate(architecture.feature_sides) if side == resolution]
        self._below: dict[int, list[int]] = {}
        for level, side in enumerate(architecture.feature_sides):
            if side < resolution:
                self._below.setdefault(side, []).append(level)
        self._project = {level: levels[level].bfloat16() for of_side in self._below.values() for level in of_side}

        # Weights of interpolation add up to one, so the offsets of all sides can be added at once.
        offset = torch.zeros(self._shared)
        offset[: architecture.shared] = torch.stack([part.double() for part in group.offsets.values()]).sum(dim=0)
        weight, bias = group.expand
        hidden_weights = torch.zeros(members, self._shared, hidden)
        hidden_weights[:, : architecture.shared, :width] = weight.unflatten(1, (members, width)).transpose(0, 1)
        hidden_offset = torch.zeros(members, hidden)
        hidden_offset[:, :width] = bias.view(members, width)
        weight, bias = group.output
        output_weights = torch.zeros(members, hidden, _up(outputs, 4))
        output_weights[:, :width, :outputs] = weight.transpose(1, 2)
        output_offset = torch.zeros(members, _up(outputs, 4))
        output_offset[:, :outputs] = bias[:, :, 0]

        level_weights = [_pairs(levels[level]) for level in self._whole]
        of_layers = [offset, _pairs(hidden_weights), hidden_offset, output_weights, output_offset]
        self._kept = [*level_weights, *of_layers]
        layout = architecture.layout
        self._network = _Network(
            resolution=resolution,
            shared=self._shared,
            members=members,
            hidden=hidden,
            outputs=_up(outputs, 4),
            classes=layout.classes,
            points=layout.points,
            depth=layout.depth is not None,
            levels=len(self._whole),
            sides=len(self._below),
            channels=_sizes([architecture.feature_channels[level] for level in self._whole]),
            side=_sizes(list(self._below)),
            level_weights=_addresses(level_weights),
            offset=offset.data_ptr(),
            hidden_weights=of_layers[1].data_ptr(),
            hidden_offset=hidden_offset.data_ptr(),
            output_weights=output_weights.data_ptr(),
            output_offset=output_offset.data_ptr(),
        )

    def together(self, budget_bytes: int) -> int:
        """How many images' heatmaps fit into so many bytes, at least one."""
        architecture = self._architecture
        each = 4 * architecture.members * architecture.layout.points * architecture.resolution**2
        return max(1, budget_bytes // max(1, each))

    def fill(self, features: list[Tensor], maps: LabelMaps) -> Iterator[slice]:
        """Fill the maps of a batch; yields which images are complete, whose heatmaps stay until the next ones.

        Args:
            features: the style blocks' outputs, coarse to fine, (B, C, r, r); channels last is fastest.

        Raises:
            ValueError: they are not those of the labeler's generator.
        """
        architecture = self._architecture
        levels = zip(architecture.feature_channels, architecture.feature_sides, strict=True)
        expected = [(len(features[0]), channels, side, side) for channels, side in levels]
        if (shapes := [tuple(f.shape) for f in features]) != expected:
            raise ValueError(f"features are {shapes}, the labeler's are {expected}")
        own = [f.bfloat16().permute(0, 2, 3, 1).contiguous() for f in features]
        projected = [self._projected(own, side) for side in self._below]
        together = max(1, len(maps.heatmaps))
        for start in range(0, len(own[0]), together):
            images = slice(start, min(start + together, len(own[0])))
            for image in range(images.start, images.stop):
                self._label(
                    _Image(
                        features=_addresses([own[level][image] for level in self._whole]),
                        projected=_addresses([of_side[image] for of_side in projected]),
                        mask=_address(maps.masks, image),
                        divergence=_address(maps.divergence, image),
                        heatmaps=_address(maps.heatmaps, image - start),
                        depth=_address(maps.depth, image),
                        depth_spread=_address(maps.depth_spread, image),
                    )
                )
            yield images

    def _projected(self, features: list[Tensor], side: int) -> Tensor:
        """The levels of one side through the first layer, without its offset: bfloat16 (B, side, side, shared)."""
        first, *others = self._below[side]
        total = features[first].flatten(0, 2) @ self._project[first]
        for level in others:
            total.addmm_(features[level].flatten(0, 2), self._project[level])
        return total.view(-1, side, side, self._shared)

    def _label(self, image: _Image) -> None:
        """All rows of an image, by as many threads as PyTorch has."""
        resolution, threads = self._architecture.resolution, torch.get_num_threads()
        if threads == 1:
            self._label_rows(image, 0, resolution)
            return
        height = -(-resolution // threads)
        tops = range(0, resolution, height)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda top: self._label_rows(image, top, min(top + height, resolution)), tops))

    def _label_rows(self, image: _Image, top: int, bottom: int) -> None:
        down = (ctypes.c_float * (self._shared * sum(self._below) or 1))()
        places = (ctypes.c_char * (_PLACE_BYTES * self._architecture.resolution * len(self._below) or 1))()
        self._library.label_rows(ctypes.byref(self._network), ctypes.byref(image), top, bottom, down, places)


def fused(labeler: Labeler, precision: torch.dtype) -> FusedPixels | None:
    """The labeler's pixels in one pass, or None where they have to be done layer by layer: without the compiled code,
    on a GPU, in another precision, or for a labeler that does not fit."""
    on_cpu = labeler.thresholds.device.type == "cpu"
    if precision != torch.bfloat16 or not on_cpu or not fits(labeler.architecture):
        return None
    library = _library()
    return None if isinstance(library, str) else FusedPixels(labeler, library)


def fits(architecture: LabelerArchitecture) -> bool:
    """Whether such a labeler is one for the compiled code: a shared projection and one hidden layer a member, no more
    of anything than there is room for, a resolution that 16 divides and none above it, and channels in pairs there."""
    sides, resolution = architecture.feature_sides, architecture.resolution
    whole = [c for c, side in zip(architecture.feature_channels, sides, strict=True) if side == resolution]
    return (
        0 < architecture.shared <= _MOST_SHARED
        and len(architecture.hidden) == 1
        and architecture.hidden[0] <= _MOST_HIDDEN
        and 0 < architecture.pixel_outputs <= _MOST_OUTPUTS
        and architecture.members <= _MOST_MEMBERS
        and resolution % _LANES == 0
        and max(sides) <= resolution
        and max(len(whole), len(set(sides))) <= _MOST_SIDES
        and all(channels % 2 == 0 for channels in whole)
    )


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _pairs(weights: Tensor) -> Tensor:
    """(…, in, out) as bfloat16, neighbouring inputs together: int32 (…, in / 2, out), the earlier one in the lower
    half."""
    halves: Tensor = weights.bfloat16().unflatten(-2, (-1, 2)).transpose(-2, -1).contiguous()
    return halves.view(torch.int32).squeeze(-1)


def _sizes(values: Sequence[int]) -> "ctypes.Array[ctypes.c_int32]":
    return (ctypes.c_int32 * _MOST_SIDES)(*values)


def _addresses(tensors: Sequence[Tensor]) -> "ctypes.Array[ctypes.c_void_p]":
    return (ctypes.c_void_p * _MOST_SIDES)(*(tensor.data_ptr() for tensor in tensors))


def _address(of_images: Tensor, image: int) -> int | None:
    return of_images[image].data_ptr() if of_images.numel() else None
