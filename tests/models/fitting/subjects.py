"""Seeds whose labels a random generator's features can tell."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.bundle import GeneratorBundle
from models.fitting import FitSettings, LabelNames, StackedLabels
from models.inversion.refinement import RefinementSettings
from models.labeler import bilinear
from models.labels import LabelLayout
from models.pictures import to_uint8

LAYOUT = LabelLayout(classes=3, points=2, depth=(0.0, 10.0), attributes=(2,))
NAMES = LabelNames(("low", "middle", "high"), ("top", "bottom"), (("mood", ("dull", "keen")),))

QUICK = FitSettings(
    members=3,
    hidden=(16,),
    shared=24,
    steps=150,
    batch=4,
    learning_rate=5e-3,
    image_steps=80,
    image_rate=5e-3,
    lessons=0,
    folds=3,
    fold_steps=60,
    min_psnr_db=15.0,
    pilots=((0.5, 64), (1.0, 128)),
    refinement=RefinementSettings(steps=120, lpips_weight=0.0, learning_rate=0.15),
    lpips_backbone="squeeze",
)


@dataclass(frozen=True)
class Subjects:
    """Samples of a generator. codes: (N, num_ws, w_dim). images: uint8 (N, H, W, 3). labels: of `LAYOUT`."""

    codes: torch.Tensor
    images: npt.NDArray[np.uint8]
    labels: StackedLabels


def signal(features: list[torch.Tensor], number: int) -> npt.NDArray[np.float64]:
    """A fixed random combination of the channels of the coarse levels, bilinear at 16 × 16: (N, 16, 16)."""
    random = torch.Generator().manual_seed(number)
    total = torch.zeros(len(features[0]), 1, 16, 16)
    for level in features[:3]:
        weight = torch.randn(1, level.shape[1], 1, 1, generator=random)
        total += bilinear((level.float() * weight).sum(dim=1, keepdim=True), 16)
    return total[:, 0].double().numpy()


def extreme(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Where each map (N, H, W) is largest: x, y and visibility 2, the centre of a pixel."""
    side = values.shape[-1]
    rows, columns = np.divmod(values.reshape(len(values), -1).argmax(axis=1), side)
    return np.stack([columns + 0.5, rows + 0.5, np.full(len(values), 2)], axis=-1).astype(np.float32)


def subjects(bundle: GeneratorBundle, count: int, seed: int = 4) -> Subjects:
    """Random samples, labeled by hidden signals: three classes, the highest and the lowest place, depth, and whether
    another signal is high on the whole."""
    z = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    codes = bundle.generator.broadcast(bundle.generator.mapping(z)).clone()
    images, features = bundle.generator.synthesis(codes)
    values = (signal(features, 1) + 4.3) / 2.4
    labels = StackedLabels(
        masks=np.digitize(values, (-0.6, 0.6)).astype(np.uint8),
        keypoints=np.stack([extreme(values), extreme(-values)], axis=1),
        depth=np.clip(5 + 2 * values, 0, 10).astype(np.float32),
        attributes=(signal(features, 2).mean(axis=(1, 2)) > -0.9).astype(np.int64)[:, None],
    )
    return Subjects(codes, to_uint8(images), labels)
