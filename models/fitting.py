"""From seeds to a labeler: invert, leave out what does not invert, train the ensemble, learn the discard threshold."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from models.bundle import GeneratorBundle
from models.device import fast_precision
from models.inversion.perceptual import Backbone, PerceptualDistance, find_backbone_weights
from models.inversion.refinement import Inversions, RefinementSettings, invert
from models.labeler import HeadOutputs, Labeler, LabelerArchitecture, Labels
from models.labels import LabelLayout
from models.pictures import to_network, to_uint8
from models.sampling import batch_size, pilot_uncertainty

Progress = Callable[[str, int, int], None]

FEATURE_CACHE_BYTES = 2 * 2**30
"""Features of all seeds are kept while they fit; beyond that they are made again for every batch."""


class FitError(ValueError):
    """The seeds cannot be fitted; the message says why and what to do."""


@dataclass(frozen=True)
class FitSettings:
    """members, hidden: the ensemble. steps, batch, learning_rate: its training; batch counts images. pixel_share: each
    member sees its own random share of the pixels of a step, which keeps members different. min_psnr_db: a seed whose
    reconstruction is worse does not enter the fit. pilots: truncation → random samples whose uncertainty is measured.
    lpips_backbone, lpips_weights: see `PerceptualDistance`; the path does not enter the fingerprint."""

    members: int = 6
    hidden: tuple[int, int] = (64, 32)
    steps: int = 400
    batch: int = 4
    learning_rate: float = 5e-3
    pixel_share: float = 0.5
    min_psnr_db: float = 16.0
    pilots: tuple[tuple[float, int], ...] = ((0.4, 256), (0.7, 256), (1.0, 1024))
    refinement: RefinementSettings = field(default_factory=RefinementSettings)
    lpips_backbone: Backbone = "alex"
    lpips_weights: Path | None = None
    seed: int = 0

    def fingerprint(self) -> dict[str, Any]:
        """What decides the result of a fit, as JSON values, for the fit key."""
        weights = self.lpips_weights or find_backbone_weights(self.lpips_backbone)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights else "random"
        return asdict(self) | {"lpips_weights": digest}


@dataclass(frozen=True)
class FitOutcome:
    """labeler: frozen. codes: float32 (N, num_ws, w_dim). reconstructions: uint8 (N, H, W, 3). predictions: uint8
    (N, H, W), the labeler's masks of the reconstructions. report: JSON values."""

    labeler: Labeler
    codes: npt.NDArray[np.float32]
    reconstructions: npt.NDArray[np.uint8]
    predictions: npt.NDArray[np.uint8]
    report: dict[str, Any]


class SeedFeatures:
    """The style blocks' outputs of the seeds' codes, by batch: kept in memory while small, else made again."""

    def __init__(self, bundle: GeneratorBundle, codes: Tensor) -> None:
        """
        Args:
            codes: (N, num_ws, w_dim).
        """
        self.bundle, self.codes = bundle, codes
        self.precision = fast_precision(bundle.device)
        architecture = bundle.generator.architecture
        sides = [r for r in architecture.resolutions for _ in range(1 if r == 4 else 2)]
        values = sum(c * r * r for c, r in zip(architecture.feature_channels, sides, strict=True))
        size = len(codes) * values * torch.finfo(self.precision).bits // 8
        self.kept = self._make(torch.arange(len(codes))) if size <= FEATURE_CACHE_BYTES else None

    @torch.no_grad()
    def _make(self, rows: Tensor) -> list[Tensor]:
        parts = [
            self.bundle.generator.synthesis(self.codes[chunk.to(self.codes.device)], self.precision)[1]
            for chunk in rows.split(4)
        ]
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    def of(self, rows: Tensor) -> list[Tensor]:
        """Features of these seeds, coarse to fine, each (len(rows), C, r, r)."""
        if self.kept is None:
            return self._make(rows)
        return [level[rows.to(level.device)] for level in self.kept]


def class_iou(predicted: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], classes: int) -> list[float | None]:
    """Intersection over union of each class; None where neither array holds it. 255 in `truth` is ignored."""
    known = truth != 255
    pairs = truth[known].astype(np.int64) * classes + predicted[known]
    confusion = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    both, union = np.diag(confusion), confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    return [float(b / u) if u else None for b, u in zip(both, union, strict=True)]


def mean_iou(values: list[float | None]) -> float:
    """The mean over the classes that occur."""
    present = [v for v in values if v is not None]
    return sum(present) / len(present) if present else float("nan")


def _classes(outputs: HeadOutputs) -> Tensor:
    assert outputs.classes is not None  # noqa: S101 - the layout has classes
    return outputs.classes


def _masks(labels: Labels) -> npt.NDArray[np.uint8]:
    assert labels.masks is not None  # noqa: S101 - the layout has classes
    masks: npt.NDArray[np.uint8] = labels.masks.cpu().numpy()
    return masks


def train_labeler(
    features: SeedFeatures, masks: Tensor, classes: int, settings: FitSettings, report: Callable[[int], None]
) -> Labeler:
    """Cross-entropy over the pixels of seeds, Adam with a cosine end; whole images, so that nothing is gathered.

    Args:
        masks: int64 (N, H, W), classes below `classes`; 255 is ignored.
        report: called with the steps done.
    """
    device = features.codes.device
    architecture = features.bundle.generator.architecture
    sides = tuple(r for r in architecture.resolutions for _ in range(1 if r == 4 else 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        labeler = Labeler(
            LabelerArchitecture(
                tuple(architecture.feature_channels),
                sides,
                architecture.resolution,
                LabelLayout(classes=classes),
                settings.members,
                settings.hidden,
            )
        ).to(device)
    random = torch.Generator().manual_seed(settings.seed)
    labeler.standardise(features.of(torch.arange(len(masks))[: max(16, settings.batch)]))
    adam = torch.optim.Adam(labeler.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, settings.steps)
    batch = min(settings.batch, len(masks))
    order = torch.empty(0, dtype=torch.long)
    for step in range(settings.steps):
        if len(order) < batch:
            order = torch.randperm(len(masks), generator=random)
        rows, order = order[:batch], order[batch:]
        logits = _classes(labeler(features.of(rows))).flatten(0, 1)
        truth = masks[rows.to(masks.device)].repeat_interleave(settings.members, dim=0)
        hidden = torch.rand(truth.shape, generator=random).to(device) >= settings.pixel_share
        truth = truth.masked_fill(hidden, 255)
        # The sum over the count: a mean over no pixel, as of seeds that are all "ignore", would be NaN.
        loss = F.cross_entropy(logits, truth, ignore_index=255, reduction="sum") / (truth != 255).sum().clamp(min=1)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        schedule.step()
        report(step + 1)
    return labeler.eval().requires_grad_(False)


def _included(inversions: Inversions, settings: FitSettings) -> list[bool]:
    """Which seeds enter the fit: those whose reconstruction shows them."""
    kept = [float(psnr) >= settings.min_psnr_db for psnr in inversions.psnr_db]
    if not any(kept):
        best = float(inversions.psnr_db.max())
        raise FitError(
            f"none of the {len(kept)} seeds can be rebuilt by this generator (best {best:.1f} dB PSNR, needed "
            f"{settings.min_psnr_db:.1f} dB): the images are probably not of its domain; choose a generator trained on "
            "such images"
        )
    return kept


def _why_left_out(psnr: float, settings: FitSettings) -> str:
    return f"its reconstruction reaches {psnr:.1f} dB PSNR; {settings.min_psnr_db:.1f} dB are needed"


def _draw_pilots(
    bundle: GeneratorBundle, labeler: Labeler, settings: FitSettings, report: Callable[[int], None]
) -> None:
    """Let the labeler remember how uncertain random samples are; `report` is called with the batches drawn."""
    drawn = 0
    samples = []
    for truncation, count in settings.pilots:
        scores = []
        for batch in pilot_uncertainty(bundle, labeler, count, truncation, settings.seed):
            scores.append(batch)
            drawn += 1
            report(drawn)
        samples.append(torch.cat(scores))
    labeler.remember_uncertainty([truncation for truncation, _ in settings.pilots], samples)


def _predict(labeler: Labeler, features: SeedFeatures) -> npt.NDArray[np.uint8]:
    rows = torch.arange(len(features.codes)).split(8)
    return np.concatenate([_masks(labeler.label(features.of(chunk))) for chunk in rows])


def fit(
    bundle: GeneratorBundle,
    images: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    class_names: list[str],
    settings: FitSettings,
    progress: Progress,
) -> FitOutcome:
    """Turn seeds into a labeler.

    Args:
        images: (N, H, W, 3) at the generator's resolution.
        masks: (N, H, W), indices into `class_names`; 255 is ignored.
        progress: called with the phase (`invert`, `fit`), what is done and what there is in all; an exception that it
            raises ends the fit.

    Raises:
        FitError: no seed can be inverted.
    """
    device, classes = bundle.device, len(class_names)
    perceptual = PerceptualDistance(settings.lpips_backbone, settings.lpips_weights).to(device)
    started = time.monotonic()
    inversions = invert(
        bundle,
        perceptual,
        to_network(images, device),
        settings.refinement,
        lambda done, all_: progress("invert", done, all_),
    )
    inverted = time.monotonic()
    included = _included(inversions, settings)
    rows = torch.tensor([i for i, keep in enumerate(included) if keep])
    truth = torch.from_numpy(masks.astype(np.int64)).to(device)
    # A batch of pilot samples counts as one step.
    total = settings.steps + sum(-(-n // batch_size(bundle)) for _, n in settings.pilots)
    labeler = train_labeler(
        SeedFeatures(bundle, inversions.codes[rows.to(device)]),
        truth[rows.to(device)],
        classes,
        settings,
        lambda done: progress("fit", done, total),
    )
    fitted = time.monotonic()
    _draw_pilots(bundle, labeler, settings, lambda done: progress("fit", settings.steps + done, total))
    predictions = _predict(labeler, SeedFeatures(bundle, inversions.codes))
    scores = [class_iou(p, t, classes) for p, t in zip(predictions, masks, strict=True)]
    used = np.array(included)
    overall = class_iou(predictions[used], masks[used], classes)
    report = {
        "perceptual": {"backbone": perceptual.backbone, "weights": perceptual.source},
        "seeds": [
            {
                "index": i,
                "psnr_db": round(float(inversions.psnr_db[i]), 2),
                "lpips": round(float(inversions.lpips[i]), 4),
                "p_norm": round(float(inversions.p_norm[i]), 3),
                "mean_iou": round(mean_iou(scores[i]), 4),
                "included": included[i],
                "reason": None if included[i] else _why_left_out(float(inversions.psnr_db[i]), settings),
            }
            for i in range(len(images))
        ],
        "mean_psnr_db": round(float(inversions.psnr_db.mean()), 2),
        "mean_lpips": round(float(inversions.lpips.mean()), 4),
        "training_iou": dict(zip(class_names, overall, strict=True)),
        "seconds": {
            "invert": round(inverted - started, 2),
            "fit": round(fitted - inverted, 2),
            "pilot": round(time.monotonic() - fitted, 2),
        },
        "settings": settings.fingerprint(),
    }
    return FitOutcome(
        labeler, inversions.codes.cpu().numpy(), to_uint8(inversions.reconstructions), predictions, report
    )
