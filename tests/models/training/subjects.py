"""A network small enough to train within a test, and pictures to train it on."""

from pathlib import Path

import numpy as np
from PIL import Image

from models.architecture import Architecture
from models.distances.random_convnet import RandomConvnet
from models.training.evaluation import Evaluator
from models.training.images import TrainingImages
from models.training.settings import TrainingPlan, TrainingSettings
from models.training.trainer import TrainingProgress

SMALL = Architecture(8, 8, 8, 2, 128, 16, noise=False)
SETTINGS = TrainingSettings(batch=8, ema_images=500, r1_gamma=0.1)
PLAN = TrainingPlan(SMALL, SETTINGS, images=80, snapshot_images=40)


def ignore(_: TrainingProgress) -> None:
    """Report nothing."""


def colours(count: int = 64) -> np.ndarray:
    """Images of one flat colour each, near orange."""
    random = np.random.default_rng(0)
    flat = np.array([220, 120, 20]) + random.integers(-15, 16, (count, 1, 1, 3))
    return np.broadcast_to(flat, (count, 8, 8, 3)).astype(np.uint8)


def evaluator(folder: Path, samples: int = 20) -> Evaluator:
    images = TrainingImages(colours(), folder / "colours.u8", None)
    return Evaluator(RandomConvnet(), images, False, samples)


def save_pictures(folder: Path, count: int = 12, side: int = 10) -> Path:
    """PNG files of noise, no two alike."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(1)
    for i in range(count):
        pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return folder
