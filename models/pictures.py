"""Images as people look at them: grids of samples."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from models.whole_file import written_whole


def to_uint8(images: Tensor) -> npt.NDArray[np.uint8]:
    """Network images (B, 3, H, W) in [-1, 1] → uint8 (B, H, W, 3); what lies outside is clamped."""
    scaled = (images.float() + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def to_network(images: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 (B, H, W, 3) → float32 (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def grid(images: npt.NDArray[np.uint8], columns: int) -> npt.NDArray[np.uint8]:
    """Tile (N, H, W, 3) row by row into one picture; missing places of the last row are white."""
    count, height, width, _ = images.shape
    rows = -(-count // columns)
    tiles = np.full((rows * columns, height, width, 3), 255, dtype=np.uint8)
    tiles[:count] = images
    return tiles.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)


def save_png(path: Path, image: npt.NDArray[np.uint8], zoom: int = 1) -> None:
    """Write an RGB picture, each pixel `zoom` times as wide and high; whole or not at all."""
    picture = Image.fromarray(image)
    picture = picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
    with written_whole(path) as file:
        picture.save(file, format="PNG")
