"""Reads a project's seeds from the store."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.labels import ImageLabels
from service.label_schema import LabelKind, LabelSchema
from service.records import ProjectRecord, SeedLabels, SeedRecord
from service.stores.protocol import Store
from workers.png import read_depth, read_image, read_mask


@dataclass(frozen=True)
class Seeds:
    """All seeds of one project, in their order."""

    files: list[tuple[bytes, ...]]
    """Bytes of each seed's files, as stored, in the order of `seed_files`."""
    images: NDArray[np.uint8]
    """(N, H, W, 3)"""
    labels: list[ImageLabels]
    """Of each seed; every kind that the project has, and no other."""
    forced: list[bool]
    """Whether the seed enters the fit however badly it inverts."""


def seed_files(schema: LabelSchema) -> list[str]:
    """The names of the files that each seed of a project with this schema has, in a fixed order."""
    kinds = schema.label_kinds
    files = {
        "image.png": True,
        "segmentation.png": LabelKind.SEGMENTATION in kinds,
        "depth.png": LabelKind.DEPTH in kinds,
        "labels.json": LabelKind.KEYPOINTS in kinds or LabelKind.CLASS in kinds,
    }
    return [name for name, there in files.items() if there]


def read_seeds(store: Store, project: ProjectRecord) -> Seeds:
    """The seeds of `project`, at the generator's size as the service stored them. Raises `ObjectMissing`."""
    files = [read_seed_files(store, project, seed) for seed in project.seeds]
    return Seeds(
        files=[tuple(seed.values()) for seed in files],
        images=np.stack([read_image(seed["image.png"]) for seed in files]),
        labels=[_labels(seed, project) for seed in files],
        forced=[seed.forced for seed in project.seeds],
    )


def read_seed_files(store: Store, project: ProjectRecord, seed: SeedRecord) -> dict[str, bytes]:
    """The files of one seed of `project` by name, in the order of `seed_files`. Raises `ObjectMissing`."""
    return {name: store.read(ProjectRecord.seed_key(project.id, seed.index, name)) for name in seed_files(project)}


def other_labels(files: Mapping[str, bytes]) -> SeedLabels:
    """What the labels of a seed with these files say beside pictures; nothing, if that is all there is."""
    return SeedLabels.model_validate_json(files["labels.json"]) if "labels.json" in files else SeedLabels()


def _labels(files: Mapping[str, bytes], schema: LabelSchema) -> ImageLabels:
    others = other_labels(files)
    return ImageLabels(
        mask=read_mask(files["segmentation.png"]) if schema.classes else None,
        keypoints=np.array(others.keypoints, np.float32).reshape(-1, 3) if others.keypoints is not None else None,
        depth=read_depth(files["depth.png"], schema.depth.scale) if schema.depth else None,
        attributes=np.array(others.attributes, np.int64) if others.attributes is not None else None,
    )
