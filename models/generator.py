"""StyleGAN2: mapping and skip-architecture synthesis, with the features of every style block on request.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020. Equation numbers below are that
paper's. Pure PyTorch, one code path for CPU and GPU; parameter names and layouts are those of NVIDIA's configuration.
"""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)
RESAMPLE_TAPS = (1.0, 3.0, 3.0, 1.0)


@dataclass(frozen=True)
class Architecture:
    """Everything that fixes the shapes of a generator; stored in the header of its weights.

    resolution: pixels a side, a power of two from 8 to 1024. channel_base, channel_max: a block of resolution r has
    min(channel_base / r, channel_max) channels. noise: whether the style blocks add their fixed noise buffers.
    """

    resolution: int
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    noise: bool = True

    def __post_init__(self) -> None:
        if self.resolution not in (8, 16, 32, 64, 128, 256, 512, 1024):
            raise ValueError(f"resolution {self.resolution}: must be a power of two from 8 to 1024")

    @property
    def resolutions(self) -> list[int]:
        """4, 8, … up to the output's."""
        return [2**i for i in range(2, self.resolution.bit_length())]

    @property
    def num_ws(self) -> int:
        """How many copies of w, one per style block and one for the last ToRGB: the first axis of a W+ code."""
        return 2 * len(self.resolutions)

    @property
    def feature_channels(self) -> list[int]:
        """Channels of each style block's output, from coarse to fine."""
        return [self.channels(r) for r in self.resolutions for _ in range(1 if r == 4 else 2)]

    def channels(self, resolution: int) -> int:
        """Channels of the block at `resolution`."""
        return min(self.channel_base // resolution, self.channel_max)

    def to_dict(self) -> dict[str, int | bool]:
        """Plain values, for JSON; `Architecture(**d)` undoes it."""
        return asdict(self)


class FullyConnected(nn.Module):
    """Linear layer with the equalised learning rate: weights are stored at unit scale and multiplied at run time."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([out_features], bias_init / lr_multiplier))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) → (…, out_features), leaky ReLU with gain √2 applied when `activate`."""
        y = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return F.leaky_relu(y, LRELU_SLOPE) * LRELU_GAIN if self.activate else y


class Mapping(nn.Module):
    """z → w: a normalisation and a few fully connected layers with learning rate multiplier 0.01."""

    w_avg: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = [architecture.z_dim] + [architecture.w_dim] * architecture.mapping_layers
        self.layers = nn.ModuleList(
            FullyConnected(i, o, lr_multiplier=0.01, activate=True) for i, o in pairwise(widths)
        )
        self.register_buffer("w_avg", torch.zeros(architecture.w_dim))

    def forward(self, z: Tensor, truncation: float = 1.0) -> Tensor:
        """Map (B, z_dim) to (B, w_dim), pulled towards `w_avg` by truncation psi (1 leaves w as it is)."""
        w = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.layers:
            w = layer(w)
        return w if truncation == 1.0 else self.w_avg.lerp(w, truncation)


def resample_kernel(channels: int, gain: float, like: Tensor) -> Tensor:
    """The [1, 3, 3, 1] filter as a depthwise (channels, 1, 4, 4) kernel whose taps sum to `gain`."""
    taps = torch.tensor(RESAMPLE_TAPS, device=like.device)
    kernel = torch.outer(taps, taps)
    return (kernel * (gain / kernel.sum())).to(like.dtype).expand(channels, 1, 4, 4)


def upsample_image(image: Tensor) -> Tensor:
    """Double an image (B, C, H, W) by zero insertion and the resample filter, as the skip connection of ToRGB does."""
    channels = image.shape[1]
    kernel = resample_kernel(channels, 4.0, image)
    return F.conv_transpose2d(image, kernel, stride=2, padding=1, groups=channels)


def modulated_convolution(
    x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool = True, up: bool = False
) -> Tensor:
    """Modulate, convolve, demodulate (Eq. 1 and 3) with one shared convolution instead of one per sample.

    Scaling a weight's input channels by s equals scaling the input; scaling its output channels equals scaling the
    output. The dense convolution that remains is far faster on a CPU than a grouped one.

    Args:
        x: (B, I, H, W), in the precision of the computation.
        weight: (O, I, k, k) float32.
        styles: (B, I) float32.
        demodulate: bring every output channel back to unit expected variance.
        up: double the resolution: a transposed convolution of stride 2, then the resample filter.

    Returns:
        (B, O, H, W), or (B, O, 2H, 2W) with `up`, in the precision of x.
    """
    kernel = weight.shape[-1]
    if demodulate:
        # Demodulation divides any scale out again; unit scales keep half precision in range.
        weight = weight * torch.rsqrt(weight.square().mean(dim=(1, 2, 3), keepdim=True))
        styles = styles * torch.rsqrt(styles.square().mean(dim=1, keepdim=True))
    x = x * styles.to(x.dtype)[:, :, None, None]
    shared = weight.to(x.dtype)
    if up:
        x = F.conv_transpose2d(x, shared.transpose(0, 1), stride=2)
        x = F.conv2d(x, resample_kernel(weight.shape[0], 4.0, x), padding=1, groups=weight.shape[0])
    else:
        x = F.conv2d(x, shared, padding=kernel // 2)
    if demodulate:
        energy = styles.square() @ weight.square().sum(dim=(2, 3)).T
        x = x * torch.rsqrt(energy + 1e-8).to(x.dtype)[:, :, None, None]
    return x


class StyleBlock(nn.Module):
    """One style block: affine → modulated 3×3 convolution → noise → bias → leaky ReLU. Its output is a feature."""

    noise_const: Tensor

    def __init__(
        self, architecture: Architecture, resolution: int, in_channels: int, out_channels: int, up: bool
    ) -> None:
        super().__init__()
        self.up = up
        self.affine = FullyConnected(architecture.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength: Tensor | None = None
        if architecture.noise:
            self.noise_strength = nn.Parameter(torch.zeros(()))
            self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, random_noise: bool = False) -> Tensor:
        """(B, I, H, W) and w (B, w_dim) → (B, O, H', W')."""
        x = modulated_convolution(x, self.weight, self.affine(w), up=self.up)
        if self.noise_strength is not None:
            noise = torch.randn_like(x[:, :1]) if random_noise else self.noise_const.to(x.dtype)
            x = x + noise * self.noise_strength.to(x.dtype)
        return F.leaky_relu(x + self.bias.to(x.dtype)[:, None, None], LRELU_SLOPE).mul_(LRELU_GAIN)


class ToRGB(nn.Module):
    """Modulated 1×1 convolution to three colours, without demodulation."""

    def __init__(self, architecture: Architecture, in_channels: int) -> None:
        super().__init__()
        self.affine = FullyConnected(architecture.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, I, H, W) → float32 (B, 3, H, W)."""
        styles = self.affine(w) * self.weight_gain
        return modulated_convolution(x, self.weight, styles, demodulate=False).float() + self.bias[:, None, None]


class Synthesis(nn.Module):
    """W+ → image: a learnt 4×4 constant, style blocks up to the resolution, and a sum of upsampled ToRGB outputs."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.const = nn.Parameter(torch.randn(architecture.channels(4), 4, 4))
        self.blocks = nn.ModuleList()
        self.to_rgb = nn.ModuleList()
        channels = architecture.channels(4)
        for resolution in architecture.resolutions:
            out = architecture.channels(resolution)
            if resolution > 4:
                self.blocks.append(StyleBlock(architecture, resolution, channels, out, up=True))
            self.blocks.append(StyleBlock(architecture, resolution, out, out, up=False))
            self.to_rgb.append(ToRGB(architecture, out))
            channels = out

    def forward(
        self, ws: Tensor, precision: torch.dtype = torch.float32, random_noise: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Generate images and the features they are made of.

        Args:
            ws: float32 W+ codes (B, num_ws, w_dim).
            precision: of the style blocks; images always accumulate in float32.
            random_noise: fresh noise instead of the fixed buffers, as in training.

        Returns:
            float32 images (B, 3, R, R), nominally in [-1, 1] but not clamped; and each style block's output from
            coarse to fine, (B, C, r, r) in `precision`.
        """
        x = self.const.to(precision).expand(ws.shape[0], -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        features: list[Tensor] = []
        image: Tensor | None = None
        for level, to_rgb in enumerate(self.to_rgb):
            for _ in range(1 if level == 0 else 2):
                index = len(features)
                x = self.blocks[index](x, ws[:, index], random_noise)
                features.append(x)
            color = to_rgb(x, ws[:, len(features)])
            image = color if image is None else upsample_image(image) + color
        assert image is not None  # noqa: S101 - there is at least one level
        return image, features


class Generator(nn.Module):
    """A StyleGAN2: `mapping` z → w and `synthesis` W+ → image."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.mapping = Mapping(architecture)
        self.synthesis = Synthesis(architecture)

    def broadcast(self, w: Tensor) -> Tensor:
        """Repeat w (B, w_dim) for every style block: (B, num_ws, w_dim)."""
        return w.unsqueeze(1).expand(-1, self.architecture.num_ws, -1)

    def forward(self, z: Tensor, truncation: float = 1.0, precision: torch.dtype = torch.float32) -> Tensor:
        """Images (B, 3, R, R) float32 of latents z (B, z_dim)."""
        image: Tensor = self.synthesis(self.broadcast(self.mapping(z, truncation)), precision)[0]
        return image
