"""How uncertain random samples are: drawn once at the end of a fit, so that any worker knows what to discard."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.device import fast_precision
from models.fitting.settings import FitSettings
from models.labeler import Labeler
from models.labeling import LabelingKernel
from models.parts import Parts
from models.sampling import batch_size, random_codes


def pilot_batches(bundle: GeneratorBundle, settings: FitSettings) -> int:
    """How many batches `draw_pilots` draws."""
    return sum(-(-count // batch_size(bundle)) for _, count in settings.pilots)


def draw_pilots(
    bundle: GeneratorBundle, labeler: Labeler, settings: FitSettings, report: Callable[[int], None]
) -> None:
    """Let the labeler remember how uncertain random samples are; `report` is called with the batches drawn.

    The kinds are standardised by the samples of the largest truncation, which are the most varied.
    """
    kernel, parts = LabelingKernel(labeler, fast_precision(bundle.device)), Parts()
    drawn = 0
    rows: list[dict[str, Tensor]] = []
    for truncation, count in settings.pilots:
        batches = []
        for start in range(0, count, batch_size(bundle)):
            batches.append(_uncertainty(bundle, kernel, parts, truncation, settings.seed, start))
            drawn += 1
            report(drawn)
        rows.append({kind: torch.cat([batch[kind] for batch in batches])[:count] for kind in labeler.kinds})
    truncations = [truncation for truncation, _ in settings.pilots]
    labeler.standardise_uncertainty(rows[int(np.argmax(truncations))])
    labeler.remember_uncertainty(truncations, [labeler.combined(kinds) for kinds in rows])


@torch.inference_mode()
def _uncertainty(
    bundle: GeneratorBundle, kernel: LabelingKernel, parts: Parts, truncation: float, seed: int, start: int
) -> dict[str, Tensor]:
    """The uncertainty of each kind for one batch of random samples, the first of them number `start`."""
    codes = random_codes(bundle, seed, range(start, start + batch_size(bundle)), truncation)

    def uncertainty(some: Tensor) -> dict[str, Tensor]:
        return kernel.label(bundle.generator.synthesis(some, fast_precision(bundle.device))[1]).kinds

    found = parts.each(codes, uncertainty)
    return {kind: torch.cat([of_part[kind] for of_part in found]) for kind in found[0]}
