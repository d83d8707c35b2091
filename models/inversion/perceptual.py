"""LPIPS (Zhang et al., CVPR 2018) without ever reaching for the network."""

import pickle
import warnings
from pathlib import Path
from typing import Literal

import lpips
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.seeded import seeded

Backbone = Literal["alex", "vgg", "squeeze"]

_CACHED_NAMES = {"alex": "alexnet-owt-", "vgg": "vgg16-", "squeeze": "squeezenet1_1-"}
_LARGEST_SIDE = 256
_SMALLEST_SIDE = 64


def find_backbone_weights(backbone: Backbone) -> Path | None:
    """The torchvision weights of a backbone in torch's download cache, if they are there."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return next(iter(sorted(folder.glob(f"{_CACHED_NAMES[backbone]}*.pth"))), None)


class PerceptualDistance(nn.Module):
    """LPIPS between images. `source` says whose features it compares: `pretrained`, or `random` when the backbone's
    weights cannot be had; a random backbone still measures structure, less well."""

    def __init__(self, backbone: Backbone = "alex", weights: Path | None = None) -> None:
        """
        Args:
            backbone: the network whose features are compared.
            weights: its torchvision state dict; None looks in torch's download cache.

        Raises:
            ValueError: `weights` was given and is not a state dict of this backbone.
        """
        super().__init__()
        found = weights or find_backbone_weights(backbone)
        self.backbone = backbone
        self.source = "random" if found is None else "pretrained"
        with seeded(0), warnings.catch_warnings():
            # lpips still calls torchvision by its old argument names.
            warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
            self.network = lpips.LPIPS(net=backbone, pnet_rand=True, verbose=False)
        if found is not None:
            self._load_backbone(found)
        self.eval().requires_grad_(False)

    def _load_backbone(self, path: Path) -> None:
        """Copy the `features.N.*` tensors of torchvision's state dict into the slices that lpips cuts them into."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            with torch.no_grad():
                for name, parameter in self.network.net.named_parameters():
                    parameter.copy_(state["features." + name.split(".", 1)[1]])
        except (OSError, EOFError, KeyError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
            reason = type(error).__name__
            raise ValueError(f"{path}: not the torchvision weights of {self.backbone} ({reason})") from error

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances (B,) between images (B, 3, R, R) in [-1, 1]; sides outside 64 to 256 are resampled first."""
        side = min(max(a.shape[-1], _SMALLEST_SIDE), _LARGEST_SIDE)
        if a.shape[-1] != side:
            mode = "area" if a.shape[-1] > side else "bilinear"
            a, b = F.interpolate(a, (side, side), mode=mode), F.interpolate(b, (side, side), mode=mode)
        distance: Tensor = self.network(a, b)
        return distance.flatten()
