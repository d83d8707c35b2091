"""The kernel distance: unbiased squared MMD with a cubic polynomial kernel (Bińkowski et al., ICLR 2018)."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def squared_mmd(a: Array, b: Array) -> float:
    """Unbiased estimate for samples a (M, D) and b (N, D) of the squared MMD; may be a little below 0.

    The kernel is (x·y / D + 1)³.
    """
    dimensions = a.shape[1]
    same_a, same_b, cross = ((x @ y.T / dimensions + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    m, n = len(a), len(b)
    within_a = (same_a.sum() - np.trace(same_a)) / (m * (m - 1))
    within_b = (same_b.sum() - np.trace(same_b)) / (n * (n - 1))
    return float(within_a + within_b - 2 * cross.mean())


def kernel_distance(a: Array, b: Array, block: int = 500) -> float:
    """Mean of `squared_mmd` over disjoint blocks of rows of a (M, D) and b (N, D), in float64.

    Blocks are alike, of `block` rows or somewhat more; with fewer rows than two blocks, all are one block.

    Raises:
        ValueError: fewer than two rows.
    """
    rows = min(len(a), len(b))
    if rows < 2:
        raise ValueError(f"{rows} feature rows: a kernel distance needs two at least")
    blocks = max(1, rows // block)
    length = rows // blocks
    starts = [i * length for i in range(blocks)]
    return float(np.mean([squared_mmd(a[s : s + length], b[s : s + length]) for s in starts]))
