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

MOST_LEFT_OUT = 0.5
"""However badly a class is rebuilt, or what has a known depth, as much of it is learnt from: without that the class
would never be found, or no depth be learnt."""


def without_misfits(
    labels: StackedLabels, misfit: npt.NDArray[np.float32], rows: Sequence[int], share: float
) -> StackedLabels:
    """Labels to learn from: the mask and the depth of badly rebuilt pixels are unknown.

    Args:
        labels: of N images. misfit: (N, H, W), of their reconstructions.
        rows: the images that are learnt from; the others stay as they are.
        share: of all pixels of `rows`, in [0, 1), to take for unknown; of the pixels of a class, and of those whose
            depth is known, at most `MOST_LEFT_OUT`.
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
        for value in np.setdiff1d(seen[unknown], [IGNORED]):
            unknown &= _worst_of(seen == value, errors)
        masks[index] = np.where(unknown, np.uint8(IGNORED), seen)
    if depth is not None:
        depth = depth.copy()
        measured = depth[index]
        if (known := ~np.isnan(measured)).any():
            unknown &= _worst_of(known, errors)
        depth[index] = np.where(unknown, np.float32(np.nan), measured)
    return replace(labels, masks=masks, depth=depth)


def _worst_of(chosen: npt.NDArray[np.bool_], errors: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which pixels are not chosen, or among the `MOST_LEFT_OUT` of the chosen ones with the largest errors."""
    worst: npt.NDArray[np.bool_] = ~chosen | (errors > np.quantile(errors[chosen], 1 - MOST_LEFT_OUT))
    return worst
