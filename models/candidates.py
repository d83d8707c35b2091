"""Batches of candidates: from latents to images and labels in main memory, of which a sample is one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.device import fast_precision, repeatable
from models.labeler import Labels
from models.labeling import LabelingKernel
from models.labels import ImageLabels
from models.parts import Parts
from models.pictures import to_uint8


@dataclass(frozen=True)
class Candidates:
    """images: uint8 (B, H, W, 3). masks, keypoints, depth, attributes: as in `Labels`, None without that kind.
    uncertainty, kinds: one number for each candidate."""

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8] | None
    keypoints: npt.NDArray[np.float32] | None
    depth: npt.NDArray[np.float32] | None
    attributes: npt.NDArray[np.int64] | None
    uncertainty: list[float]
    kinds: dict[str, list[float]]

    def labels(self, row: int) -> ImageLabels:
        """The labels of one candidate, as views that keep the whole batch in memory."""
        return ImageLabels(
            None if self.masks is None else self.masks[row],
            None if self.keypoints is None else self.keypoints[row],
            None if self.depth is None else self.depth[row],
            None if self.attributes is None else self.attributes[row],
        )


class CandidateSource:
    """Makes batches of candidates of one generator and labeler. When a GPU runs out of memory, a batch is made in twice
    as many parts from then on; the candidates are the same, up to the rounding of convolutions."""

    def __init__(
        self, bundle: GeneratorBundle, kernel: LabelingKernel, truncation: float, ignore_fraction: float
    ) -> None:
        self.bundle, self.kernel = bundle, kernel
        self.truncation, self.ignore_fraction = truncation, ignore_fraction
        self.parts = Parts()

    @torch.inference_mode()
    def make(self, z: npt.NDArray[np.float32], classes: Sequence[int] | None) -> Candidates:
        """The candidates of latents (B, z_dim), of one class each if the generator is conditional."""
        generator = self.bundle.generator
        given = None if classes is None else generator.mapping.one_hot(torch.tensor(classes))
        w = generator.mapping(torch.from_numpy(z).to(self.bundle.device), self.truncation, given)
        made = self.parts.each(generator.broadcast(w), self._make)
        return _gathered([images for images, _ in made], [labels for _, labels in made])

    def _make(self, codes: Tensor) -> tuple[npt.NDArray[np.uint8], Labels]:
        with repeatable(self.bundle.device):
            images, features = self.bundle.generator.synthesis(codes, fast_precision(self.bundle.device))
        return to_uint8(images), self.kernel.label(features, self.ignore_fraction)


def _gathered(images: list[npt.NDArray[np.uint8]], labels: list[Labels]) -> Candidates:
    def of(name: str) -> npt.NDArray[np.generic] | None:
        parts = [getattr(part, name) for part in labels]
        return None if parts[0] is None else torch.cat(parts).cpu().numpy()

    return Candidates(
        images[0] if len(images) == 1 else np.concatenate(images),
        of("masks"),  # type: ignore[arg-type]
        of("keypoints"),  # type: ignore[arg-type]
        of("depth"),  # type: ignore[arg-type]
        of("attributes"),  # type: ignore[arg-type]
        torch.cat([part.uncertainty for part in labels]).tolist(),
        {kind: torch.cat([part.kinds[kind] for part in labels]).tolist() for kind in labels[0].kinds},
    )
