"""A sample as arrays to the files that lie in a shard: augmented as asked, and encoded."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.labels import ImageLabels
from models.sampling import Sample, Wish
from service.label_schema import LabelSchema
from service.requests import GenerateRequest
from workers.augmentation import augment, sample_random
from workers.balance import wish_of_index
from workers.image_files import SUFFIXES, image_file
from workers.png import depth_png, mask_png, palette
from workers.tars import PackedSample, Point, SampleFacts


@dataclass(frozen=True)
class Packer:
    """Packs the samples of one job. May be called from several threads at once."""

    request: GenerateRequest
    schema: LabelSchema

    @cached_property
    def colors(self) -> bytes:
        """The palette of masks."""
        return palette(self.schema.classes)

    @cached_property
    def wish(self) -> Callable[[int], Wish | None]:
        """What a sample was wished to show, by its index."""
        return wish_of_index(self.request, self.schema) or (lambda _: None)

    def __call__(self, sample: Sample) -> list[PackedSample]:
        """The versions of one sample, in order: one, or as many as the request's `multiply`."""
        return [self._version(sample, version) for version in range(self.request.multiply)]

    def _version(self, sample: Sample, version: int) -> PackedSample:
        image, labels = sample.image, sample.labels
        if self.request.augment:
            random = sample_random(self.request.seed, sample.index, version)
            image, labels = augment(image, labels, self.request.augment, self.schema, random)
        depth = self.schema.depth
        return PackedSample(
            facts=self._facts(sample, version, labels),
            image=image_file(image, self.request.image_format),
            image_suffix=SUFFIXES[self.request.image_format],
            mask=None if labels.mask is None else mask_png(labels.mask, self.colors),
            depth=None if labels.depth is None or depth is None else depth_png(labels.depth, depth.scale),
        )

    def _facts(self, sample: Sample, version: int, labels: ImageLabels) -> SampleFacts:
        wish = self.wish(sample.index)
        return SampleFacts(
            index=sample.index * self.request.multiply + version,
            source=sample.index,
            version=version,
            uncertainty=sample.uncertainty,
            kinds=sample.kinds,
            class_pixels=None if labels.mask is None else class_pixels(labels.mask, len(self.schema.classes)),
            keypoints=None if labels.keypoints is None else _points(labels.keypoints),
            attributes=None if labels.attributes is None else labels.attributes.tolist(),
            attempts=sample.attempts,
            # Augmentation may take away what the sample showed: a crop its class, a flip its left or right.
            met=sample.met and (wish is None or wish.met(labels)),
        )


def class_pixels(mask: NDArray[np.uint8], classes: int) -> list[int]:
    """How many pixels of a mask, (H, W) class indices, are of each of the `classes`; those marked 255 are of none."""
    counts: list[int] = np.bincount(mask.ravel(), minlength=256)[:classes].tolist()
    return counts


def _points(keypoints: NDArray[np.float32]) -> list[Point]:
    """Rounded to a hundredth of a pixel, which is far below what a label means; 0, 0 for those that are not there."""
    return [(round(float(x), 2), round(float(y), 2), int(v)) if v else (0.0, 0.0, 0) for x, y, v in keypoints]
