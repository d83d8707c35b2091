"""How far what is seen in one set of images is from what is seen in another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.generator_quality.judges import Seen
from models.bears import SPECIES
from models.distances.statistics import distance

PRESENT = 0.002
"""A part that takes at least this share of an image is there: 8 pixels of 64 × 64."""


@dataclass(frozen=True)
class Comparison:
    """generated, renders: as the judges see them. others: renders that differ from `renders` by chance alone, so that
    their distance is the least that can be asked for. All have as many images. names: of the parts."""

    generated: Seen
    renders: Seen
    others: Seen
    names: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """`frechet` and `kernel` distance of the features, `parts` by name and `species`; the `floor` of each is what
        the other renders have."""
        made, least = (distance(seen.features, self.renders.features) for seen in (self.generated, self.others))
        return {
            "features": made.features,
            "frechet": round(made.frechet, 4),
            "frechet_floor": round(least.frechet, 4),
            "kernel": round(made.kernel, 5),
            "kernel_floor": round(least.kernel, 5),
            "parts": {name: self._part(place) for place, name in enumerate(self.names)},
            "species": {name: self._species(place) for place, name in enumerate(SPECIES)},
            "species_distance": round(total_variation(self.generated.species, self.renders.species), 4),
            "species_floor": round(total_variation(self.others.species, self.renders.species), 4),
        }

    def _part(self, place: int) -> dict[str, float]:
        """`area` is the mean share of the pixels, in per cent; `distance` that of the histograms, in the same unit;
        `present` the share of images with the part."""
        made, exact, other = (seen.areas[:, place] for seen in (self.generated, self.renders, self.others))
        return {
            "area": round(100 * float(made.mean()), 3),
            "area_of_renders": round(100 * float(exact.mean()), 3),
            "distance": round(100 * earth_moved(made, exact), 3),
            "floor": round(100 * earth_moved(other, exact), 3),
            "present": round(float((made >= PRESENT).mean()), 4),
            "present_in_renders": round(float((exact >= PRESENT).mean()), 4),
        }

    def _species(self, place: int) -> dict[str, float]:
        shares = ((seen.species == place).mean() for seen in (self.generated, self.renders))
        return dict(zip(("share", "share_of_renders"), (round(float(share), 4) for share in shares), strict=True))


def earth_moved(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Wasserstein's first distance between as many numbers a (N,) and b (N,): how far they have to be moved on average
    to become each other. In one dimension the smallest goes to the smallest, and so on."""
    return float(np.abs(np.sort(a) - np.sort(b)).mean())


def total_variation(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> float:
    """Half the summed difference of the values' shares, 0 to 1."""
    values = np.union1d(a, b)
    return 0.5 * float(sum(abs((a == value).mean() - (b == value).mean()) for value in values))
