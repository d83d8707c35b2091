"""The labels of all seeds in one place: as arrays to compare with, and as tensors to learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.device import sent
from models.labeler import Labels
from models.labels import ImageLabels, LabelLayout


@dataclass(frozen=True)
class LabelNames:
    """What the labels are called, for reports; the layout's counts with words. attributes: name and values of each."""

    classes: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class StackedLabels:
    """The labels of N images: fields of `ImageLabels` with N in front; None where the layout has no such label."""

    masks: npt.NDArray[np.uint8] | None
    keypoints: npt.NDArray[np.float32] | None
    depth: npt.NDArray[np.float32] | None
    attributes: npt.NDArray[np.int64] | None

    @staticmethod
    def of(labels: Sequence[ImageLabels], layout: LabelLayout) -> "StackedLabels":
        """Raises `ValueError` naming the image that lacks a label of the layout."""

        def stacked(name: str, wanted: bool, dtype: type) -> npt.NDArray[Any] | None:
            if not wanted:
                return None
            values = [getattr(each, name) for each in labels]
            missing = [index for index, value in enumerate(values) if value is None]
            if missing:
                raise ValueError(f"image {missing[0]} has no {name}")
            return np.stack(values).astype(dtype)

        return StackedLabels(
            stacked("mask", layout.classes > 0, np.uint8),
            stacked("keypoints", layout.points > 0, np.float32),
            stacked("depth", layout.depth is not None, np.float32),
            stacked("attributes", bool(layout.attributes), np.int64),
        )

    @staticmethod
    def of_batches(batches: Sequence[Labels]) -> "StackedLabels":
        """What a labeler said of several batches."""

        def joined(name: str) -> npt.NDArray[Any] | None:
            values = [getattr(each, name) for each in batches]
            return None if values[0] is None else torch.cat(values).cpu().numpy()

        return StackedLabels(*(joined(name) for name in ("masks", "keypoints", "depth", "attributes")))

    def each(self) -> list[ImageLabels]:
        """The labels image by image."""
        columns = (self.masks, self.keypoints, self.depth, self.attributes)
        count = next(len(values) for values in columns if values is not None)
        return [
            ImageLabels(
                mask=None if self.masks is None else self.masks[i],
                keypoints=None if self.keypoints is None else self.keypoints[i],
                depth=None if self.depth is None else self.depth[i],
                attributes=None if self.attributes is None else self.attributes[i],
            )
            for i in range(count)
        ]

    def followed_by(self, others: "StackedLabels") -> "StackedLabels":
        """These labels, and behind them others of the same kinds."""

        def joined(name: str) -> npt.NDArray[Any] | None:
            mine, theirs = getattr(self, name), getattr(others, name)
            return None if mine is None else np.concatenate([mine, theirs])

        return StackedLabels(*(joined(name) for name in ("masks", "keypoints", "depth", "attributes")))

    def rows(self, chosen: Sequence[int]) -> "StackedLabels":
        """The labels of these images."""
        index = np.array(chosen, dtype=np.int64)
        return StackedLabels(
            masks=None if self.masks is None else self.masks[index],
            keypoints=None if self.keypoints is None else self.keypoints[index],
            depth=None if self.depth is None else self.depth[index],
            attributes=None if self.attributes is None else self.attributes[index],
        )

    def tensors(self, device: torch.device) -> "LabelTensors":
        """The same as tensors on a device."""

        def tensor(values: npt.NDArray[Any] | None, dtype: torch.dtype) -> Tensor | None:
            return None if values is None else torch.from_numpy(values).to(device, dtype)

        return LabelTensors(
            tensor(self.masks, torch.uint8),
            tensor(self.keypoints, torch.float32),
            tensor(self.depth, torch.float32),
            tensor(self.attributes, torch.long),
        )


@dataclass(frozen=True)
class LabelTensors:
    """masks: uint8 (N, H, W). keypoints: float32 (N, P, 3). depth: float32 (N, H, W). attributes: int64 (N, A)."""

    masks: Tensor | None
    keypoints: Tensor | None
    depth: Tensor | None
    attributes: Tensor | None

    def rows(self, chosen: Tensor) -> "LabelTensors":
        """The labels of these images."""
        each = (self.masks, self.keypoints, self.depth, self.attributes)
        return LabelTensors(*(None if values is None else values[sent(chosen, values.device)] for values in each))
