"""Inception features, where torchvision's weights of it can be had. Nothing is ever downloaded."""

import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAME = "inception-torchvision"
SIDE = 299


def find_inception_weights() -> Path | None:
    """torchvision's weights in torch's download cache, if they are there."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return next(iter(sorted(folder.glob("inception_v3_google-*.pth"))), None)


class Inception(nn.Module):
    """The 2048 pooled features of torchvision's Inception v3.

    Published FIDs use another port of the network, from TensorFlow; these distances are near those, and not the same.
    """

    name = NAME
    dimensions = 2048
    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: Path) -> None:
        """Raises ValueError if `weights` is not a state dict of the network."""
        super().__init__()
        from torchvision.models import inception_v3  # takes seconds to load, and most runs have no weights for it

        self.network = inception_v3(weights=None, aux_logits=True, init_weights=False, transform_input=False)
        try:
            self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except (OSError, EOFError, RuntimeError, TypeError, AttributeError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"{weights}: not torchvision's weights of inception_v3 ({type(error).__name__})"
            ) from error
        self.network.fc = nn.Identity()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225])[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """float32 images (B, 3, R, R) in [-1, 1] → features (B, 2048)."""
        shrinks = images.shape[-1] > SIDE
        x = F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=shrinks)
        features: Tensor = self.network(((x + 1) / 2 - self.mean) / self.deviation)
        return features
