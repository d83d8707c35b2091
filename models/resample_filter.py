"""StyleGAN2's resample filter: what doubles images and features, with zeros inserted between their pixels."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

RESAMPLE_TAPS = (1.0, 3.0, 3.0, 1.0)


def resample_kernel(channels: int, gain: float, like: Tensor) -> Tensor:
    """The [1, 3, 3, 1] filter as a depthwise (channels, 1, 4, 4) kernel whose taps sum to `gain`."""
    return _resample_taps(gain, like.dtype, like.device).expand(channels, 1, 4, 4)


@cache
def _resample_taps(gain: float, precision: torch.dtype, device: torch.device) -> Tensor:
    """Kept, because bringing them to a GPU would make everyone wait until it has done what it was asked before."""
    # Gradients of codes may pass through it later, which tensors of inference mode do not allow.
    with torch.inference_mode(False), torch.no_grad():
        taps = torch.tensor(RESAMPLE_TAPS)
        kernel = torch.outer(taps, taps)
        return (kernel * (gain / kernel.sum())).to(device, precision)


def upsample_image(image: Tensor) -> Tensor:
    """Double an image (B, C, H, W) by zero insertion and the resample filter, as the skip connection of ToRGB does."""
    channels = image.shape[1]
    kernel = resample_kernel(channels, 4.0, image)
    return F.conv_transpose2d(image, kernel, stride=2, padding=1, groups=channels)
