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
