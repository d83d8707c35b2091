"""StyleGAN2: mapping and skip-architecture synthesis, with the features of every style block on request.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020. Equation numbers below are that
paper's. Pure PyTorch, one code path for CPU and GPU; parameter names and layouts are those of NVIDIA's configuration.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architecture import Architecture
from models.device import sent
from models.resample_filter import resample_kernel, upsample_image

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)

EPSILON = 1e-8
"""Keeps normalisation and demodulation from dividing by zero; its place matters for equality with other trainers."""

SMALLEST_SQUARE = 1e-20
"""Mean square below which weights and styles count as zero."""

AT_ONCE_PIXELS = 2**22
"""Of images that are made at once in float32: with all features, which are there until the end, some gigabytes."""


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


def normalize(x: Tensor) -> Tensor:
    """Bring each row of (B, N) to unit mean square."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + EPSILON)


class Mapping(nn.Module):
    """z → w: a normalisation and a few fully connected layers with a small learning rate multiplier. A conditional
    generator's class is embedded, normalised and put beside z."""

    w_avg: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.c_dim = architecture.c_dim
        self.embed = FullyConnected(self.c_dim, architecture.class_features) if self.c_dim else None
        self.layers = nn.ModuleList(
            FullyConnected(i, o, lr_multiplier=architecture.mapping_rate, activate=True)
            for i, o in pairwise(architecture.mapping_widths)
        )
        self.register_buffer("w_avg", torch.zeros(architecture.w_dim))

    def forward(self, z: Tensor, truncation: float = 1.0, c: Tensor | None = None) -> Tensor:
        """Map (B, z_dim) to (B, w_dim), pulled towards `w_avg` by truncation psi (1 leaves w as it is).

        Args:
            c: float32 (B, c_dim), one-hot class labels; a conditional generator needs them, others take none.

        Raises:
            ValueError: `c` is missing, of another shape, or for a generator without classes.
        """
        w = normalize(z)
        if self.embed is not None:
            if c is None or c.shape != (len(z), self.c_dim):
                raise ValueError(f"this generator is conditional: give one of its {self.c_dim} classes for each latent")
            w = torch.cat([w, normalize(self.embed(c))], dim=1)
        elif c is not None:
            raise ValueError("this generator has no classes")
        for layer in self.layers:
            w = layer(w)
        return w if truncation == 1.0 else self.w_avg.lerp(w, truncation)

    def random_classes(self, count: int, random: torch.Generator) -> Tensor | None:
        """One-hot labels (count, c_dim) of classes drawn evenly with a CPU generator; None without classes."""
        if not self.c_dim:
            return None
        return self.one_hot(torch.randint(self.c_dim, [count], generator=random))

    def classes_in_turn(self, count: int) -> Tensor | None:
        """One-hot labels (count, c_dim) of class 0, 1, … and from the first one again; None without classes."""
        return self.one_hot(torch.arange(count) % self.c_dim) if self.c_dim else None

    def one_hot(self, classes: Tensor) -> Tensor:
        """One-hot labels, float32 (N, c_dim) on the mapping's device, of int64 classes (N,) on the CPU."""
        return sent(F.one_hot(classes, self.c_dim).float(), self.w_avg.device)


class NormalizedWeight(NamedTuple):
    """A convolution's weight (O, I, k, k), whose squares sum to about one for each output channel, in the precision of
    the computation; `scale` (O,), by which it was multiplied; and `squares` (O, I), its squares summed over the kernel.
    """

    weight: Tensor
    scale: Tensor
    squares: Tensor

    @staticmethod
    def of(weight: Tensor, precision: torch.dtype) -> "NormalizedWeight":
        """Normalise a float32 weight."""
        # What a convolution puts out is then as large as what goes in, far from the end of float16. A power of two
        # changes no digit.
        share = 2.0 ** -round(math.log2(weight[0].numel()) / 2)
        scale = torch.rsqrt(weight.square().mean(dim=(1, 2, 3)).clamp(min=SMALLEST_SQUARE)) * share
        weight = weight * scale[:, None, None, None]
        return NormalizedWeight(weight.to(precision), scale, weight.square().sum(dim=(2, 3)))


def demodulated_convolution(
    x: Tensor, normalized: NormalizedWeight, styles: Tensor, up: bool = False, epsilon: float = EPSILON
) -> tuple[Tensor, Tensor]:
    """Modulate, convolve, demodulate (Eq. 1 and 3) with one shared convolution instead of one per sample.

    Scaling a weight's input channels by s equals scaling the input; scaling its output channels equals scaling the
    output. The dense convolution that remains is far faster on a CPU than a grouped one.

    Args:
        x: (B, I, H, W), in the precision of the computation.
        normalized: of a weight (O, I, k, k).
        styles: (B, I) float32.
        up: double the resolution: a transposed convolution of stride 2, then the resample filter.
        epsilon: added to the sum of squares of a modulated weight by which demodulation divides.

    Returns:
        (B, O, H, W), or (B, O, 2H, 2W) with `up`, in the precision of x; and float32 (B, O), what its channels are
        still to be multiplied by.
    """
    # Demodulation divides any scale out again, from its epsilon too; unit scales keep half precision in range.
    scale = torch.rsqrt(styles.square().mean(dim=1, keepdim=True).clamp(min=SMALLEST_SQUARE))
    styles = styles * scale
    weight = normalized.weight
    x = x * styles.to(x.dtype)[:, :, None, None]
    if up:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = F.conv2d(x, resample_kernel(len(weight), 4.0, x), padding=1, groups=len(weight))
    else:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    energy = styles.square() @ normalized.squares.T
    return x, torch.rsqrt(energy + epsilon * scale.square() * normalized.scale.square())


class StyleBlock(nn.Module):
    """One style block: affine → modulated 3×3 convolution → noise → bias → leaky ReLU → clamp. Its output is a
    feature."""

    noise_const: Tensor

    def __init__(
        self, architecture: Architecture, resolution: int, in_channels: int, out_channels: int, up: bool
    ) -> None:
        super().__init__()
        self.up = up
        self.affine = FullyConnected(architecture.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.clamp = architecture.conv_clamp
        self.epsilon = EPSILON * (9 * in_channels if architecture.epsilon_on_mean else 1)
        self.noise_strength: Tensor | None = None
        if architecture.noise:
            self.noise_strength = nn.Parameter(torch.zeros(()))
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self._normalized: tuple[object, NormalizedWeight] | None = None

    def normalized(self, precision: torch.dtype) -> NormalizedWeight:
        """The normalised weight; kept from call to call while the weight is frozen and unchanged."""
        if self.weight.requires_grad or self.weight.is_inference():
            return NormalizedWeight.of(self.weight, precision)
        key = (precision, self.weight.device, self.weight.data_ptr(), self.weight._version)
        if self._normalized is None or self._normalized[0] != key:
            # Gradients of codes may pass through it later, which tensors of inference mode do not allow.
            with torch.inference_mode(False), torch.no_grad():
                self._normalized = (key, NormalizedWeight.of(self.weight, precision))
        return self._normalized[1]

    def forward(self, x: Tensor, w: Tensor, random_noise: bool = False) -> Tensor:
        """(B, I, H, W) and w (B, w_dim) → (B, O, H', W')."""
        x, scale = demodulated_convolution(x, self.normalized(x.dtype), self.affine(w), self.up, self.epsilon)
        # A leaky ReLU lets a positive gain pass, so that it needs no pass over the image of its own.
        scale, bias = (scale * LRELU_GAIN).to(x.dtype), (self.bias * LRELU_GAIN).to(x.dtype)
        x = torch.addcmul(bias[:, None, None], x, scale[:, :, None, None])
        if self.noise_strength is not None:
            noise = torch.randn_like(x[:, :1]) if random_noise else self.noise_const.to(x.dtype)
            x = x.add_(noise * (self.noise_strength * LRELU_GAIN).to(x.dtype))
        x = F.leaky_relu_(x, LRELU_SLOPE)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class ToRGB(nn.Module):
    """Modulated 1×1 convolution to three colours, without demodulation."""

    def __init__(self, architecture: Architecture, in_channels: int) -> None:
        super().__init__()
        self.affine = FullyConnected(architecture.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.clamp = architecture.conv_clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, I, H, W) → float32 (B, 3, H, W)."""
        # So few outputs that each sample may have its own weights: one pass over x, as a matrix of pixels.
        weights = self.weight[:, :, 0, 0] * (self.affine(w) * self.weight_gain)[:, None]
        batch, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        color = torch.bmm(pixels, weights.mT.to(x.dtype)).mT.reshape(batch, 3, height, width)
        color = color.float() + self.bias[:, None, None]
        return color if self.clamp is None else color.clamp(-self.clamp, self.clamp)


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

    def at_once(self, most: int) -> int:
        """How many images to make at once: at most so many, and fewer large ones."""
        return max(1, min(most, AT_ONCE_PIXELS // self.architecture.resolution**2))

    def broadcast(self, w: Tensor) -> Tensor:
        """Repeat w (B, w_dim) for every style block: (B, num_ws, w_dim)."""
        return w.unsqueeze(1).expand(-1, self.architecture.num_ws, -1)

    def forward(
        self,
        z: Tensor,
        truncation: float = 1.0,
        precision: torch.dtype = torch.float32,
        c: Tensor | None = None,
    ) -> Tensor:
        """Images (B, 3, R, R) float32 of latents z (B, z_dim), of classes c (B, c_dim) if it is conditional."""
        image: Tensor = self.synthesis(self.broadcast(self.mapping(z, truncation, c)), precision)[0]
        return image
