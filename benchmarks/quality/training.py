"""Training one small network on one source: the same steps, the same rule, whatever the source."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.quality.data import LabeledImages
from benchmarks.quality.distortion import Batch, distort
from benchmarks.quality.nets import Kind, TaskNet
from models.device import training_precision
from models.fitting.distortion import Strength
from models.heads.segmentation import IGNORED
from models.pictures import to_network

HEATMAP_SIGMA = 1.5
"""Standard deviation in pixels of the target around a keypoint."""


@dataclass(frozen=True)
class Budget:
    """How long every network is trained: `steps` batches of `batch` images, AdamW with a one-cycle rate (Smith, 2018)
    that ends at zero. What is tested is the average of the weights over the last tenth of the steps."""

    steps: int = 2_000
    batch: int = 32
    rate: float = 3e-3
    decay: float = 1e-2


@dataclass(frozen=True)
class Mixture:
    """Two sources in every batch: a share of its images are seeds, the others generated ones. The share goes in a
    straight line from the first of `seeds_shares`, in [0, 1], to the second, which it reaches at the last batch."""

    generated: LabeledImages
    seeds: LabeledImages
    seeds_shares: tuple[float, float] = (0.5, 0.5)


@dataclass(frozen=True)
class TrainedNet:
    """net: in evaluation mode. depth_mean, depth_std: undo the standardisation. loss: mean over the last tenth."""

    net: TaskNet
    depth_mean: float
    depth_std: float
    loss: float
    seconds: float


def outputs_of(kind: Kind, source: LabeledImages | Mixture, classes: int) -> int:
    """How many outputs a network for this kind has."""
    if kind == "keypoints":
        points = parts_of(source)[0][0].labels.keypoints
        assert points is not None
        return int(points.shape[1])
    return 1 if kind == "depth" else classes


def train_net(
    kind: Kind,
    source: LabeledImages | Mixture,
    classes: int,
    budget: Budget,
    seed: int,
    report: Callable[[int, float], None] = lambda _step, _loss: None,
) -> TrainedNet:
    """Train a network on `source`.

    Args:
        classes: of the masks, or values of the attribute.
        report: called with steps done and the latest loss; may raise to stop.
    """
    started = time.perf_counter()
    torch.manual_seed(seed)
    random, batches = torch.Generator().manual_seed(seed), Batches(source, budget, seed)
    net = TaskNet(kind, outputs_of(kind, source, classes)).to(memory_format=torch.channels_last)
    adam = torch.optim.AdamW(net.parameters(), lr=budget.rate, weight_decay=budget.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, budget.rate, total_steps=budget.steps, pct_start=0.1)
    mean, std = _depth_range(source) if kind == "depth" else (0.0, 1.0)
    precision = training_precision(torch.device("cpu"))
    tail = max(1, budget.steps // 10)
    average, losses = copy.deepcopy(net), []
    for step in range(budget.steps):
        batch = distort(_batch(batches.next(), kind), Strength(), random)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            out = net(batch.images)
        loss = _loss(kind, out, batch, mean, std)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        schedule.step()
        if step >= budget.steps - tail:
            losses.append(loss.item())
            _follow(average, net, 1 / len(losses))
        if step % 20 == 0 or step + 1 == budget.steps:
            report(step + 1, loss.item())
    return TrainedNet(average.eval(), mean, std, float(np.mean(losses)), time.perf_counter() - started)


def _follow(average: TaskNet, net: TaskNet, share: float) -> None:
    """Make `average` the running mean of the weights, and of what batch norm keeps."""
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, share)
            else:
                mean.copy_(value)


class Batches:
    """Which images come next: each source in a random order of its own, through all of its images before any comes
    again."""

    def __init__(self, source: LabeledImages | Mixture, budget: Budget, seed: int) -> None:
        """
        Args:
            budget: how many batches there will be, and of how many images.

        Raises:
            ValueError: a share outside [0, 1].
        """
        self.sources, self.shares = parts_of(source)
        self.size, self.steps, self.drawn = budget.batch, budget.steps, 0
        if not all(0 <= share <= 1 for share in self.shares):
            raise ValueError(f"seeds_shares {self.shares}: must be in [0, 1]")
        self.orders = [np.random.default_rng(seed if place == 0 else [seed, place]) for place in (0, 1)]
        self.queues = [np.array([], dtype=np.int64)] * 2

    def next(self) -> list[tuple[LabeledImages, npt.NDArray[np.int64]]]:
        """The sources of the next batch with the rows to take of each, `size` in all. Where the share is no whole
        number of images, the counts of several batches average to it."""
        before, after = (math.floor(self._seeds_until(n) + 0.5) for n in (self.drawn, self.drawn + 1))
        self.drawn += 1
        counts = (self.size - (after - before), after - before)
        return [(self.sources[place], self._take(place, count)) for place, count in enumerate(counts) if count]

    def _seeds_until(self, batches: int) -> float:
        """How many seeds so many batches are to hold together."""
        first, last = self.shares
        return self.size * batches * (first + (last - first) * batches / (2 * self.steps))

    def _take(self, place: int, count: int) -> npt.NDArray[np.int64]:
        while len(self.queues[place]) < count:
            order = self.orders[place].permutation(len(self.sources[place]))
            self.queues[place] = np.concatenate([self.queues[place], order])
        rows, self.queues[place] = self.queues[place][:count], self.queues[place][count:]
        return rows


def parts_of(source: LabeledImages | Mixture) -> tuple[tuple[LabeledImages, ...], tuple[float, float]]:
    """The one or two sources, and the first and last share of the second."""
    if isinstance(source, Mixture):
        return (source.generated, source.seeds), source.seeds_shares
    return (source,), (0.0, 0.0)


def _depth_range(source: LabeledImages | Mixture) -> tuple[float, float]:
    """Mean and standard deviation of the known depths, every source counted by its share."""
    sources, shares = parts_of(source)
    seeds_share = sum(shares) / 2
    mean = square = 0.0
    for part, share in zip(sources, (1 - seeds_share, seeds_share), strict=False):
        assert part.labels.depth is not None
        center = float(np.nanmean(part.labels.depth))
        mean += share * center
        square += share * (float(np.nanvar(part.labels.depth)) + center**2)
    return mean, math.sqrt(max(square - mean**2, 1e-12))


def _batch(drawn: list[tuple[LabeledImages, npt.NDArray[np.int64]]], kind: Kind) -> Batch:
    """The images with the labels of one kind."""

    def column(name: str) -> Tensor:
        values = [getattr(part.labels, name)[rows] for part, rows in drawn]
        return torch.from_numpy(np.concatenate(values))

    images = np.concatenate([part.images[rows] for part, rows in drawn])
    return Batch(
        to_network(images, torch.device("cpu")),
        column("masks").long() if kind == "segmentation" else None,
        column("keypoints").float() if kind == "keypoints" else None,
        column("depth").float() if kind == "depth" else None,
        column("attributes").long() if kind == "class" else None,
    )


def _loss(kind: Kind, out: Tensor, batch: Batch, depth_mean: float, depth_std: float) -> Tensor:
    """Cross-entropy of pixels, of heatmaps or of the class; error of the depth, relative to the depth."""
    if kind == "segmentation":
        assert batch.masks is not None
        return F.cross_entropy(out, batch.masks, ignore_index=IGNORED)
    if kind == "class":
        assert batch.attributes is not None
        return F.cross_entropy(out, batch.attributes[:, 0])
    if kind == "depth":
        assert batch.depth is not None
        return depth_loss(out, batch.depth, depth_mean, depth_std)
    assert batch.keypoints is not None
    labeled = batch.keypoints[..., 2] > 0
    target = _heatmaps(batch.keypoints, out.shape[-1]).flatten(2)
    return -(target * out.flatten(2).log_softmax(dim=-1)).sum(dim=-1)[labeled].mean()


def depth_loss(standard: Tensor, depth: Tensor, mean: float, std: float) -> Tensor:
    """The mean relative error of the known pixels, up to a constant factor.

    Args:
        standard: (B, 1, H, W), standardised depths. depth: (B, H, W), the right ones; NaN where not known.
    """
    known = ~depth.isnan()
    error = (standard[:, 0][known] - (depth[known] - mean) / std).abs()
    return (error * (mean / depth[known])).mean()


def _heatmaps(points: Tensor, side: int) -> Tensor:
    """A normalised Gaussian around each point: (B, P, side, side)."""
    centers = torch.arange(side) + 0.5
    x = torch.exp(-(((centers - points[..., :1]) / HEATMAP_SIGMA) ** 2) / 2)
    y = torch.exp(-(((centers - points[..., 1:2]) / HEATMAP_SIGMA) ** 2) / 2)
    maps = y.unsqueeze(-1) * x.unsqueeze(-2)
    return maps / maps.sum(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
