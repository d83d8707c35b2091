"""Which pixels of the seeds are learnt from: those that their reconstructions show.

Features belong to the reconstruction, labels to the seed. Where the two images differ, a labeler would learn to see
what is not there: a scarf that inversion left out makes plain fur a scarf. The pixels that are rebuilt worst are
therefore taken for unknown.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.fitting.seed_labels import StackedLabels
from models.heads.segmentation import IGNORED

MOST_OF_A_CLASS = 0.5
"""However badly a class is rebuilt, so much of it is learnt from: without it the class would never be found."""


def without_misfits(
    labels: StackedLabels, misfit: npt.NDArray[np.float32], rows: Sequence[int], share: float
) -> StackedLabels:
    """Labels to learn from: the mask and the depth of badly rebuilt pixels are unknown.

    Args:
        labels: of N images. misfit: (N, H, W), of their reconstructions.
        rows: the images that are learnt from; the others stay as they are.
        share: of all pixels of `rows`, in [0, 1), to take for unknown; of the pixels of a class at most
            `MOST_OF_A_CLASS`.
    """
    if share <= 0 or (labels.masks is None and labels.depth is None):
        return labels
    index = np.array(rows, dtype=np.int64)
    errors = misfit[index]
    unknown = errors > np.quantile(errors, 1 - share)
    masks, depth = labels.masks, labels.depth
    if masks is not None:
        masks = masks.copy()
        seen = masks[index]
        for value in np.unique(seen[unknown]):
            of_class = seen == value
            unknown &= ~of_class | (errors > np.quantile(errors[of_class], 1 - MOST_OF_A_CLASS))
        masks[index] = np.where(unknown, np.uint8(IGNORED), seen)
    if depth is not None:
        depth = depth.copy()
        depth[index] = np.where(unknown, np.float32(np.nan), depth[index])
    return replace(labels, masks=masks, depth=depth)
