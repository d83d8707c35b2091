"""The labels of one image as arrays, whatever their kinds; what augmentation, encoders and metrics pass around."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """The labels of one image (H, W); a kind that the project does not have is None.

    mask: uint8 (H, W), class indices; 255 is ignored. keypoints: float32 (P, 3), rows of x, y and visibility: pixels
    from the top left corner, the centre of the first pixel at (0.5, 0.5); visibility 0 not in the image or not known, 1
    hidden, 2 visible. depth: float32 (H, W) in the project's unit, NaN where it is not known. attributes: int64 (A,),
    the index of each attribute's value; -1 where it is not known.
    """

    mask: npt.NDArray[np.uint8] | None = None
    keypoints: npt.NDArray[np.float32] | None = None
    depth: npt.NDArray[np.float32] | None = None
    attributes: npt.NDArray[np.int64] | None = None

    def copy(self) -> "ImageLabels":
        """The same labels in arrays of their own."""
        return ImageLabels(
            None if self.mask is None else self.mask.copy(),
            None if self.keypoints is None else self.keypoints.copy(),
            None if self.depth is None else self.depth.copy(),
            None if self.attributes is None else self.attributes.copy(),
        )


@dataclass(frozen=True, slots=True)
class LabelLayout:
    """Which labels there are, as counts, for what has no use for names.

    classes: K of the segmentation, 0 without one. points: P. depth: whether there is one, with the least and the
    largest depth known. attributes: how many values each attribute has.
    """

    classes: int = 0
    points: int = 0
    depth: tuple[float, float] | None = None
    attributes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelMirror:
    """What labels become when an image is flipped left to right: for each class of the masks, each point, and each
    value of each attribute, the index of the one that takes its place.

    Its methods take arrays whose labels lie where the flipped image has them, of one image or of several in front.
    """

    classes: tuple[int, ...] = ()
    points: tuple[int, ...] = ()
    attributes: tuple[tuple[int, ...], ...] = ()

    def masks(self, masks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """uint8 (…, H, W) with classes exchanged; 255 stays."""
        table = np.arange(256, dtype=np.uint8)
        table[: len(self.classes)] = self.classes
        return table[masks]

    def keypoints(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32 (…, P, 3) with points exchanged."""
        return points[..., list(self.points), :]

    def values(self, attributes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """int64 (…, A) with values exchanged; -1 stays."""
        exchanged = attributes.copy()
        for place, order in enumerate(self.attributes):
            column = attributes[..., place]
            exchanged[..., place] = np.where(column >= 0, np.array(order)[column], column)
        return exchanged
