"""What fixes the shapes and the arithmetic of a generator."""

import math
from dataclasses import asdict, dataclass
from typing import Any

LARGEST_WIDTH = 16384
LARGEST_W_DIM = 4096
"""The latent statistics of a generator take memory with its square, and time with its cube."""

LARGEST_C_DIM = 10_000


@dataclass(frozen=True)
class Architecture:
    """Everything that fixes the shapes and the arithmetic of a generator; stored in the header of its weights.

    resolution: pixels a side, a power of two from 8 to 1024. channel_base, channel_max: a block of resolution r has
    min(channel_base / r, channel_max) channels, unless `widths` lists the channels of every block from 4×4 up. noise:
    whether the style blocks add their fixed noise buffers. c_dim: classes of a conditional generator, 0 for none.
    conv_clamp: largest magnitude of what a convolution puts out, for weights that were trained with such a bound.
    mapping_width, embed_width: inner features of the mapping and features of an embedded class; None: w_dim.
    mapping_rate: learning rate multiplier of the mapping. epsilon_on_mean: demodulation adds its epsilon to the mean
    square of the weights instead of their sum, as generators in rosinality's layout do.
    """

    resolution: int
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    noise: bool = True
    c_dim: int = 0
    conv_clamp: float | None = None
    mapping_width: int | None = None
    embed_width: int | None = None
    mapping_rate: float = 0.01
    widths: tuple[int, ...] | None = None
    epsilon_on_mean: bool = False

    def __post_init__(self) -> None:
        if self.resolution not in (8, 16, 32, 64, 128, 256, 512, 1024):
            raise ValueError(f"resolution {self.resolution}: must be a power of two from 8 to 1024")
        _within("z_dim", self.z_dim, 1, LARGEST_WIDTH)
        _within("w_dim", self.w_dim, 1, LARGEST_W_DIM)
        _within("c_dim", self.c_dim, 0, LARGEST_C_DIM)
        _within("mapping_layers", self.mapping_layers, 0, 64)
        for name in ("mapping_width", "embed_width"):
            if (width := getattr(self, name)) is not None:
                _within(name, width, 1, LARGEST_WIDTH)
        if self.conv_clamp is not None and not 0 < self.conv_clamp < math.inf:
            raise ValueError(f"conv_clamp {self.conv_clamp}: must be a positive number")
        if not 0 < self.mapping_rate < math.inf:
            raise ValueError(f"mapping_rate {self.mapping_rate}: must be a positive number")
        if self.widths is not None:
            object.__setattr__(self, "widths", tuple(self.widths))
            if len(self.widths) != len(self.resolutions):
                raise ValueError(f"widths {self.widths}: must be one for each of {self.resolutions}")
        for resolution in self.resolutions:
            _within(f"channels at {resolution}", self.channels(resolution), 1, LARGEST_WIDTH)
        if self.mapping_layers == 0 and self.mapping_widths[0] != self.w_dim:
            raise ValueError(f"mapping_layers 0: what enters the mapping must have w_dim {self.w_dim} features")

    @property
    def resolutions(self) -> list[int]:
        """4, 8, … up to the output's."""
        return [2**i for i in range(2, self.resolution.bit_length())]

    @property
    def num_ws(self) -> int:
        """How many copies of w, one per style block and one for the last ToRGB: the first axis of a W+ code."""
        return 2 * len(self.resolutions)

    @property
    def feature_sides(self) -> tuple[int, ...]:
        """The side of each style block's output, from coarse to fine."""
        return tuple(r for r in self.resolutions for _ in range(1 if r == 4 else 2))

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of each style block's output, from coarse to fine."""
        return tuple(self.channels(r) for r in self.feature_sides)

    @property
    def class_features(self) -> int:
        """Features of an embedded class; 0 without classes."""
        return (self.embed_width or self.w_dim) if self.c_dim else 0

    @property
    def mapping_widths(self) -> list[int]:
        """Features that enter the mapping, and those that leave each of its layers."""
        inner = [self.mapping_width or self.w_dim] * (self.mapping_layers - 1)
        return [self.z_dim + self.class_features, *inner, *([self.w_dim] if self.mapping_layers else [])]

    def channels(self, resolution: int) -> int:
        """Channels of the block at `resolution`."""
        if self.widths is not None:
            return self.widths[self.resolutions.index(resolution)]
        return min(self.channel_base // resolution, self.channel_max)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; `Architecture(**d)` undoes it."""
        return asdict(self)


def _within(name: str, value: int, least: int, most: int) -> None:
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} {value!r}: must be a whole number from {least} to {most}")
