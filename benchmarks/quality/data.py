"""Images with labels, as the networks learn from them and are tested on them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.bears import Domain
from models.fitting.seed_labels import StackedLabels

TEST_SEED = 700_000
"""Test bears have this seed and those that follow."""

FULL_SEED = 800_000
"""Bears of full supervision, and of the net that annotates generated images, have this seed and those that follow."""


@dataclass(frozen=True)
class LabeledImages:
    """images: uint8 (N, R, R, 3). labels: of all of them; None for a kind that the source does not have."""

    images: npt.NDArray[np.uint8]
    labels: StackedLabels

    def __len__(self) -> int:
        return len(self.images)


def rendered(seeds: range, size: int, domain: Domain) -> LabeledImages:
    """Bears with exact labels, of every kind."""
    made = domain.render(seeds, size)
    labels = StackedLabels(made.parts, made.keypoints, made.depth, made.species.astype(np.int64)[:, None])
    return LabeledImages(made.images, labels)


def joined(*parts: LabeledImages) -> LabeledImages:
    """All of them, one after the other; every part has the same kinds of labels."""

    def column(name: str) -> npt.NDArray[np.generic] | None:
        values = [getattr(part.labels, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    labels = StackedLabels(*(column(name) for name in ("masks", "keypoints", "depth", "attributes")))  # type: ignore[arg-type]
    return LabeledImages(np.concatenate([part.images for part in parts]), labels)
