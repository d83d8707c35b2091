"""The encoder: an image to a W+ code in one pass."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architecture import Architecture
from models.blocks import DownBlock, EqualizedConv
from models.checkpoint import CheckpointError, half, load_tensors, save_tensors
from models.generator import FullyConnected


@dataclass(frozen=True)
class EncoderArchitecture:
    """resolution: of its input, pixels a side; larger images are reduced to it. channel_base, channel_max: as in a
    generator. hidden: units between the convolutions and the code."""

    resolution: int
    num_ws: int
    w_dim: int
    channel_base: int = 2048
    channel_max: int = 192
    hidden: int = 256

    @staticmethod
    def for_generator(architecture: Architecture) -> "EncoderArchitecture":
        """A sensible encoder for a generator; it looks at 256 pixels a side at most."""
        resolution = min(architecture.resolution, 256)
        wide = architecture.resolution > 64
        return EncoderArchitecture(
            resolution,
            architecture.num_ws,
            architecture.w_dim,
            channel_base=8192 if wide else 2048,
            channel_max=512 if wide else 192,
            hidden=512 if wide else 256,
        )


class Encoder(nn.Module):
    """Residual convolutions down to 4×4, then two linear layers to offsets from the mean w, in its standard
    deviations."""

    w_avg: Tensor
    w_std: Tensor

    def __init__(self, architecture: EncoderArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        sizes = [2**i for i in range(architecture.resolution.bit_length() - 1, 1, -1)]
        widths = [min(architecture.channel_base // size, architecture.channel_max) for size in sizes]
        self.from_rgb = EqualizedConv(3, widths[0], 3)
        self.blocks = nn.ModuleList(DownBlock(i, o) for i, o in pairwise(widths))
        self.hidden = FullyConnected(widths[-1] * 16, architecture.hidden, activate=True)
        self.code = FullyConnected(architecture.hidden, architecture.num_ws * architecture.w_dim)
        self.register_buffer("w_avg", torch.zeros(architecture.w_dim))
        self.register_buffer("w_std", torch.ones(architecture.w_dim))

    def forward(self, images: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
        """float32 images (B, 3, R, R) in [-1, 1] → float32 W+ codes (B, num_ws, w_dim)."""
        side = self.architecture.resolution
        if images.shape[-1] != side:
            images = F.interpolate(images, size=(side, side), mode="area")
        x = self.from_rgb(images.to(precision).contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        offsets: Tensor = self.code(self.hidden(x.float().flatten(1)))
        return self.w_avg + self.w_std * offsets.view(len(images), self.architecture.num_ws, -1)

    def save(self, path: Path, facts: dict[str, object]) -> None:
        """Write `encoder.safetensors` in float16, whole or not at all; `facts` (JSON) say how it was trained."""
        save_tensors(path, half(self.state_dict()), "encoder", {"architecture": asdict(self.architecture)} | facts)

    @staticmethod
    def load(path: Path, device: torch.device) -> "Encoder":
        """Read what `save` wrote, as a frozen float32 network. Raises `CheckpointError`."""
        tensors, facts = load_tensors(path, "encoder")
        try:
            encoder = Encoder(EncoderArchitecture(**facts["architecture"]))
            encoder.load_state_dict({name: t.float() for name, t in tensors.items()})
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path.name}: does not fit its own architecture ({error})") from error
        return encoder.to(device).eval().requires_grad_(False)
