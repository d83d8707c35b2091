"""Reads a project's seeds from the store."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.records import ProjectRecord
from service.stores.protocol import Store
from workers.png import read_image, read_mask


@dataclass(frozen=True)
class Seeds:
    """All seeds of one project, in their order."""

    names: list[str]
    files: list[tuple[bytes, bytes]]
    """PNG bytes of image and mask, as stored."""
    images: NDArray[np.uint8]
    """(N, H, W, 3)"""
    masks: NDArray[np.uint8]
    """(N, H, W), class indices"""


def read_seeds(store: Store, project: ProjectRecord) -> Seeds:
    """The seeds of `project`, at the generator's size as the service stored them. Raises `ObjectMissing`."""
    files = [
        (
            store.read(ProjectRecord.seed_key(project.id, seed.index, "image.png")),
            store.read(ProjectRecord.seed_key(project.id, seed.index, "segmentation.png")),
        )
        for seed in project.seeds
    ]
    return Seeds(
        names=[seed.name for seed in project.seeds],
        files=files,
        images=np.stack([read_image(image) for image, _ in files]),
        masks=np.stack([read_mask(mask) for _, mask in files]),
    )
