"""Training the ensemble on the seeds' features and labels, all label kinds at once.

What is said of pixels and what is said of whole images share no weights: the first is trained in batches of a few
images, the second on all of them at every step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.device import sent
from models.fitting.lattice import Lattice
from models.fitting.seed_features import PooledFeatures, SeedFeatures
from models.fitting.seed_labels import LabelTensors
from models.fitting.settings import FitSettings
from models.heads.keypoints import gaussian_targets
from models.heads.segmentation import IGNORED
from models.labeler import VISIBILITIES, HeadOutputs, Labeler, LabelerArchitecture
from models.labels import LabelLayout
from models.seeded import seeded

SMALLEST_DEPTH_SPREAD = 1e-6
"""Standard deviation of the seeds' known depths, as a share of their mean: in some units, all of them are small."""

DEPTH_WEIGHTS = (0.25, 4.0)
"""Least and most that a pixel's depth counts beside one of mean depth: without bounds, a few pixels of almost no depth
would be all that is learnt from."""

SEEDS_EVERY = 3
"""Beside lessons, one step in so many is on seeds."""

STATISTICS_IMAGES = 16
"""Seeds whose features give the statistics of the channels."""


@dataclass(frozen=True)
class Examples:
    """features, labels: of the same N images. rows: those of them to learn from, int64 indices. What `labels` lack is
    not learnt from these."""

    features: SeedFeatures
    labels: LabelTensors
    rows: Tensor


def train_labeler(
    features: SeedFeatures,
    labels: LabelTensors,
    rows: Tensor,
    layout: LabelLayout,
    images: PooledFeatures | None,
    settings: FitSettings,
    report: Callable[[int], None],
    lessons: Examples | None = None,
) -> Labeler:
    """A labeler that has learnt from some seeds.

    Args:
        features, labels: of the same N images.
        rows: those of them to learn from, int64 indices.
        images: the pooled features of all of them; may be None where the layout has nothing about whole images.
        report: called with the steps done.
        lessons: other images, of which masks are learnt alone; one step in `SEEDS_EVERY` is on seeds.
    """
    labeler = _untrained(features, labels.depth, rows, layout, images, settings)
    if labeler.output is not None:
        _train_pixels(labeler, Examples(features, labels, rows), lessons, settings, report)
    if labeler.image is not None and images is not None:
        _train_images(labeler, images.seeds[rows.to(images.seeds.device)], labels.rows(rows), settings)
    report(settings.steps)
    return labeler.eval().requires_grad_(False)


def _untrained(
    features: SeedFeatures,
    depth: Tensor | None,
    rows: Tensor,
    layout: LabelLayout,
    images: PooledFeatures | None,
    settings: FitSettings,
) -> Labeler:
    architecture = features.bundle.generator.architecture
    with seeded(settings.seed):
        labeler = Labeler(
            LabelerArchitecture(
                architecture.feature_channels,
                architecture.feature_sides,
                architecture.resolution,
                layout,
                settings.members,
                settings.hidden,
                settings.shared,
            )
        ).to(features.codes.device)
    some = features.to_learn_from(rows[: max(STATISTICS_IMAGES, settings.batch)])
    labeler.standardise(some, None if images is None else images.random)
    if depth is not None:
        of_rows = depth[rows.to(depth.device)]
        known = of_rows[~of_rows.isnan()]
        if known.numel():
            labeler.depth_center.copy_(known.mean())
            labeler.depth_scale.copy_(known.std(correction=0).clamp(min=SMALLEST_DEPTH_SPREAD * known.abs().mean()))
    return labeler


def _train_pixels(
    labeler: Labeler,
    seeds: Examples,
    lessons: Examples | None,
    settings: FitSettings,
    report: Callable[[int], None],
) -> None:
    """Adam with a cosine end."""
    random = torch.Generator().manual_seed(settings.seed)
    weights = [weight for name, weight in labeler.named_parameters() if not name.startswith("image.")]
    adam = torch.optim.Adam(weights, lr=settings.learning_rate)
    batches = _Batches(seeds, settings, random)
    others = None if lessons is None else _Batches(lessons, settings, random)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, settings.steps))
    for step in range(settings.steps):
        chosen = batches if others is None or step % SEEDS_EVERY == 0 else others
        features, drawn = chosen.of.features, chosen.next()
        lattice = features.lattice.of(drawn) if features.lattice else None
        spread = lattice.spread if lattice else None
        outputs = labeler.of_pixels(features.to_learn_from(drawn), spread, classes_only=chosen is others)
        loss = pixel_loss(labeler, outputs, chosen.of.labels.rows(drawn), settings, random, lattice)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        schedule.step()
        report(step + 1)


class _Batches:
    """Rows in one random order after another; what does not fill a batch at the end of one is not drawn from it."""

    def __init__(self, of: Examples, settings: FitSettings, random: torch.Generator) -> None:
        self.of, self.size, self.random = of, min(settings.batch, len(of.rows)), random
        self.order = torch.empty(0, dtype=torch.long)

    def next(self) -> Tensor:
        """What follows, int64 (size,)."""
        if len(self.order) < self.size:
            self.order = self.of.rows[torch.randperm(len(self.of.rows), generator=self.random)]
        drawn, self.order = self.order[: self.size], self.order[self.size :]
        return drawn


def pixel_loss(
    labeler: Labeler,
    outputs: HeadOutputs,
    labels: LabelTensors,
    settings: FitSettings,
    random: torch.Generator,
    lattice: Lattice | None = None,
) -> Tensor:
    """The weighted sum of the losses of what is said of pixels; what is not known counts in none of them.

    Args:
        outputs: of all pixels, or of those of the lattice.
        labels: of all pixels.
    """
    loss = labeler.depth_scale.new_zeros(())
    if outputs.classes is not None and labels.masks is not None:
        masks = lattice.pick(labels.masks) if lattice else labels.masks
        loss = loss + _class_loss(outputs.classes, masks, settings, random)
    if outputs.heatmaps is not None and labels.keypoints is not None:
        seen = (lattice.rows, lattice.columns) if lattice else None
        targets = gaussian_targets(labels.keypoints, labeler.architecture.resolution, seen)
        loss = loss + settings.keypoint_weight * _heatmap_loss(outputs.heatmaps, targets, labels.keypoints)
    if outputs.depth is not None and labels.depth is not None:
        depth = lattice.pick(labels.depth) if lattice else labels.depth
        loss = loss + settings.depth_weight * _depth_loss(labeler, outputs.depth, depth, settings, random)
    return loss


def _seen(shape: torch.Size, settings: FitSettings, random: torch.Generator, device: torch.device) -> Tensor:
    """Which pixels which member sees in a step."""
    return sent(torch.rand(shape, generator=random) < settings.pixel_share, device)


def _class_loss(logits: Tensor, masks: Tensor, settings: FitSettings, random: torch.Generator) -> Tensor:
    """Cross-entropy over the pixels that are not ignored."""
    truth = masks.long().repeat_interleave(logits.shape[1], dim=0)
    truth = truth.masked_fill(~_seen(truth.shape, settings, random, truth.device), IGNORED)
    total = F.cross_entropy(logits.flatten(0, 1), truth, ignore_index=IGNORED, reduction="sum")
    # The sum over the count: a mean over no pixel, as of seeds that are all "ignore", would be NaN.
    return total / (truth != IGNORED).sum().clamp(min=1)


def _heatmap_loss(logits: Tensor, targets: Tensor, points: Tensor) -> Tensor:
    """Cross-entropy between the Gaussian around each labeled point and the distribution over the pixels."""
    cross = -(targets.flatten(-2).unsqueeze(1) * logits.flatten(-2).log_softmax(dim=-1)).sum(dim=-1)
    labeled = (points[..., 2] > 0).unsqueeze(1).to(cross.dtype)
    return (cross * labeled).sum() / (labeled.sum() * logits.shape[1]).clamp(min=1)


def _depth_loss(
    labeler: Labeler, standard: Tensor, depth: Tensor, settings: FitSettings, random: torch.Generator
) -> Tensor:
    """Mean relative error of depth over the known pixels: that of the standardised depth, `standard` (B, M, H, W), each
    pixel weighted by what its depth, `depth` (B, H, W), is less than the mean depth. What is near counts more, within
    `DEPTH_WEIGHTS`."""
    truth = depth.unsqueeze(1)
    known = ~truth.isnan() & _seen(standard.shape, settings, random, standard.device)
    center, scale = labeler.depth_center, labeler.depth_scale
    least, most = DEPTH_WEIGHTS
    weight = (truth / center).nan_to_num(1.0).clamp(1 / most, 1 / least).reciprocal()
    error = (standard - ((truth - center) / scale).nan_to_num()).abs() * weight
    return (error * known).sum() / known.sum().clamp(min=1)


def _train_images(labeler: Labeler, pooled: Tensor, labels: LabelTensors, settings: FitSettings) -> None:
    """Decay and noise hold the weights back: there are fewer images than features."""
    head, layout = labeler.image, labeler.architecture.layout
    assert head is not None  # noqa: S101 - the caller looked
    random = torch.Generator().manual_seed(settings.seed)
    adam = torch.optim.AdamW(head.parameters(), lr=settings.image_rate, weight_decay=settings.image_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, settings.image_steps))
    truth = _image_truth(labels)
    sizes = [VISIBILITIES] * layout.points + list(layout.attributes)
    for _ in range(settings.image_steps):
        noise = sent(torch.randn(pooled.shape, generator=random), pooled.device)
        logits = head(pooled + settings.image_noise * head.scale * noise)
        losses = []
        for said, right in zip(logits.split(sizes, dim=2), truth, strict=True):
            known = (right >= 0).unsqueeze(1).expand(-1, said.shape[1])
            target = right.clamp(min=0).unsqueeze(1).expand_as(known)
            each = F.cross_entropy(said.flatten(0, 1), target.flatten(), reduction="none").view_as(known)
            losses.append((each * known).sum() / known.sum().clamp(min=1))
        adam.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        adam.step()
        schedule.step()


def _image_truth(labels: LabelTensors) -> list[Tensor]:
    """The right values (N,) of the visibility of each point and of each attribute; -1 where it is not known."""
    truth = []
    if labels.keypoints is not None:
        truth += list(labels.keypoints[..., 2].long().unbind(dim=1))
    if labels.attributes is not None:
        truth += list(labels.attributes.unbind(dim=1))
    return truth
