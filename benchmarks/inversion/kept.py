"""What was measured of levers, kept in a folder under what decided it, so that a stopped run goes on."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.inversion.levers import Lever
from benchmarks.inversion.quality import FIT, LabelQuality, label_quality
from benchmarks.inversion.search import encoder_of, inverted
from models.bears import Domain, Renders
from models.bundle import GeneratorBundle
from models.inversion.perceptual import PerceptualDistance, find_backbone_weights
from models.inversion.refinement import Inversions, measure
from models.pictures import to_network

Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Measured:
    """inversions: of the held-out renders, LPIPS as `alex` measures it. cpu_s: processor seconds an image that
    inverting them took. labels: one for each fit seed."""

    inversions: Inversions
    cpu_s: float
    labels: list[LabelQuality]


class Bench:
    """Measures levers on renders, with labelers fitted on seeds."""

    def __init__(
        self, bundle: GeneratorBundle, domain: Domain, seeds: Renders, held_out: Renders, cache: Path | None
    ) -> None:
        self.domain = domain
        self.bundle, self.seeds, self.held_out, self.cache = bundle, seeds, held_out, cache
        networks = (bundle.generator, encoder_of(bundle))
        self.weights = b"".join(p.detach().cpu().numpy().tobytes() for n in networks for p in n.parameters())
        self.perceptual = PerceptualDistance("alex").to(bundle.device)

    def measure(self, lever: Lever, fit_seeds: int) -> Measured:
        """All figures of a lever; without fit seeds, none of labels."""
        found, cpu_s = self._inversions(lever, self.held_out)
        if not fit_seeds:
            return Measured(found, cpu_s, [])
        seeds, _ = self._inversions(lever, self.seeds)
        labels = [self._labels(lever, seeds, found, fit_seed) for fit_seed in range(fit_seeds)]
        return Measured(found, cpu_s, labels)

    def _inversions(self, lever: Lever, renders: Renders) -> tuple[Inversions, float]:
        images = to_network(renders.images, self.bundle.device)

        def made() -> Arrays:
            started = time.process_time()
            codes = inverted(self.bundle, lever, images).codes
            spent = (time.process_time() - started) / len(images)
            return {"codes": codes.cpu().numpy(), "cpu_s": np.array(spent)}

        kept = self._kept(made, facts_of(lever), renders.images.tobytes())
        codes = torch.from_numpy(kept["codes"]).to(self.bundle.device)
        return measure(self.bundle, self.perceptual, images, codes), float(kept["cpu_s"])

    def _labels(self, lever: Lever, seeds: Inversions, found: Inversions, fit_seed: int) -> LabelQuality:
        def made() -> Arrays:
            both = (self.seeds, seeds, self.held_out, found)
            quality = label_quality(self.bundle, self.domain, *both, fit_seed)
            return {"mean_iou": np.array(quality.mean_iou), "each": quality.each}

        facts = (*facts_of(lever), "labels", FIT, self.domain.name, fit_seed)
        kept = self._kept(made, facts, self.seeds.images.tobytes() + self.held_out.images.tobytes())
        return LabelQuality(float(kept["mean_iou"]), kept["each"].astype(np.float64))

    def _kept(self, make: Callable[[], Arrays], facts: tuple[object, ...], pixels: bytes) -> Arrays:
        """What `make` returns, from the folder if it is there."""
        if self.cache is None:
            return make()
        key = hashlib.sha256(self.weights + repr(facts).encode() + pixels).hexdigest()[:16]
        path = self.cache / f"{key}.npz"
        if not path.exists():
            made = make()
            self.cache.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, **made)  # type: ignore[arg-type]
            partial.replace(path)
        with np.load(path) as file:
            return {name: file[name] for name in file.files}


def facts_of(lever: Lever) -> tuple[object, ...]:
    """What of a lever decides its codes: all but its name, and whose features its LPIPS compares."""
    trained = find_backbone_weights(lever.backbone) is not None
    return (lever.refinement, lever.backbone, trained, lever.start, lever.starts, lever.shared_share)
