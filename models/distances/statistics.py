"""What is known of a set of images' features: enough for both distances, and no more however many images there are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.distances.frechet import frechet_distance
from models.distances.kernel import kernel_distance
from models.whole_file import written_whole

KEPT_ROWS = 2_000
"""Feature vectors kept as they are, for the kernel distance."""


class FeaturesDiffer(ValueError):
    """Two results come from different features: numbers that cannot be compared."""


@dataclass(frozen=True)
class FeatureStatistics:
    """features: whose they are. count: images. mean (D,), covariance (D, D): float64. rows: the first few feature
    vectors, (at most `KEPT_ROWS`, D)."""

    features: str
    count: int
    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    rows: npt.NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write an npz, whole or not at all."""
        with written_whole(path) as file:
            np.savez(
                file,
                features=np.array(self.features),
                count=np.array(self.count),
                mean=self.mean,
                covariance=self.covariance,
                rows=self.rows,
            )

    @staticmethod
    def load(path: Path) -> "FeatureStatistics":
        """Read what `save` wrote. Raises ValueError or OSError if it is something else."""
        with np.load(path, allow_pickle=False) as stored:
            try:
                return FeatureStatistics(
                    str(stored["features"]), int(stored["count"]), stored["mean"], stored["covariance"], stored["rows"]
                )
            except KeyError as missing:
                raise ValueError(f"{path}: no feature statistics") from missing


class StatisticsBuilder:
    """Adds feature vectors batch by batch."""

    def __init__(self, features: str) -> None:
        self._features = features
        self._count = 0
        self._origin: npt.NDArray[np.float64] | None = None
        self._rows: list[npt.NDArray[np.float64]] = []

    def add(self, rows: npt.NDArray[np.float64]) -> None:
        """Feature vectors (B, D)."""
        if self._origin is None:
            # Sums of squares about a typical vector keep their digits where the mean is large.
            self._origin = rows.mean(axis=0)
            self._sum = np.zeros(rows.shape[1])
            self._products = np.zeros((rows.shape[1], rows.shape[1]))
        centred = rows - self._origin
        self._sum += centred.sum(axis=0)
        self._products += centred.T @ centred
        if self._count < KEPT_ROWS:
            self._rows.append(rows[: KEPT_ROWS - self._count])
        self._count += len(rows)

    def finish(self) -> FeatureStatistics:
        """The statistics of all vectors added. Raises ValueError if they are fewer than two."""
        if self._origin is None or self._count < 2:
            raise ValueError("statistics of fewer than two images")
        offset = self._sum / self._count
        covariance = (self._products - self._count * np.outer(offset, offset)) / (self._count - 1)
        return FeatureStatistics(
            self._features, self._count, self._origin + offset, covariance, np.concatenate(self._rows)
        )


@dataclass(frozen=True)
class Distance:
    """How far `samples` images are from `references` others, by the features of that name."""

    features: str
    frechet: float
    kernel: float
    samples: int
    references: int

    def is_closer_than(self, other: "Distance") -> bool:
        """By Fréchet distance. Raises `FeaturesDiffer` if the two were measured with different features."""
        if self.features != other.features:
            raise FeaturesDiffer(f"a distance by {self.features} cannot be compared with one by {other.features}")
        return self.frechet < other.frechet


def distance(samples: FeatureStatistics, references: FeatureStatistics) -> Distance:
    """Both distances. Raises `FeaturesDiffer` if the two are statistics of different features."""
    if samples.features != references.features:
        raise FeaturesDiffer(f"features {samples.features} cannot be compared with {references.features}")
    return Distance(
        features=samples.features,
        frechet=frechet_distance(samples.mean, samples.covariance, references.mean, references.covariance),
        kernel=kernel_distance(samples.rows, references.rows),
        samples=samples.count,
        references=references.count,
    )
