"""The Fréchet distance between two sets of feature vectors, taken as Gaussians (Heusel et al., NeurIPS 2017)."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def frechet_distance(mean_a: Array, covariance_a: Array, mean_b: Array, covariance_b: Array) -> float:
    """|μa − μb|² + tr(A + B − 2 (A B)^½), in float64.

    Args:
        mean_a, mean_b: (D,).
        covariance_a, covariance_b: (D, D), symmetric and positive semi-definite; singular ones are fine.
    """
    # √A B √A is symmetric and has the eigenvalues of A B: no complex root, and nothing to invert.
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root).clip(min=0)).sum()
    spread = np.trace(covariance_a) + np.trace(covariance_b) - 2 * shared
    return float(np.square(mean_a - mean_b).sum() + spread)
