"""Training one small network on one source: the same steps, the same rule, whatever the source."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.quality.data import LabeledImages
from benchmarks.quality.distortion import Batch, Strength, distort
from benchmarks.quality.nets import Kind, TaskNet
from models.device import training_precision
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
class TrainedNet:
    """net: in evaluation mode. depth_mean, depth_std: undo the standardisation. loss: mean over the last tenth."""

    net: TaskNet
    depth_mean: float
    depth_std: float
    loss: float
    seconds: float


def outputs_of(kind: Kind, source: LabeledImages, classes: int) -> int:
    """How many outputs a network for this kind has."""
    if kind == "keypoints":
        assert source.labels.keypoints is not None
        return int(source.labels.keypoints.shape[1])
    return 1 if kind == "depth" else classes


def train_net(
    kind: Kind,
    source: LabeledImages,
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
    random, order = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    net = TaskNet(kind, outputs_of(kind, source, classes)).to(memory_format=torch.channels_last)
    adam = torch.optim.AdamW(net.parameters(), lr=budget.rate, weight_decay=budget.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, budget.rate, total_steps=budget.steps, pct_start=0.1)
    mean, std = _depth_range(source) if kind == "depth" else (0.0, 1.0)
    precision = training_precision(torch.device("cpu"))
    tail = max(1, budget.steps // 10)
    average, losses = copy.deepcopy(net), []
    queue = np.array([], dtype=np.int64)
    for step in range(budget.steps):
        while len(queue) < budget.batch:
            queue = np.concatenate([queue, order.permutation(len(source))])
        rows, queue = queue[: budget.batch], queue[budget.batch :]
        batch = distort(_batch(source, rows, kind), Strength(), random)
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


def _depth_range(source: LabeledImages) -> tuple[float, float]:
    assert source.labels.depth is not None
    return float(np.nanmean(source.labels.depth)), float(np.nanstd(source.labels.depth))


def _batch(source: LabeledImages, rows: np.ndarray[tuple[int], np.dtype[np.int64]], kind: Kind) -> Batch:
    """The images with the labels of one kind."""
    labels = source.labels.rows(rows.tolist()).tensors(torch.device("cpu"))
    return Batch(
        to_network(source.images[rows], torch.device("cpu")),
        labels.masks if kind == "segmentation" else None,
        labels.keypoints if kind == "keypoints" else None,
        labels.depth if kind == "depth" else None,
        labels.attributes if kind == "class" else None,
    )


def _loss(kind: Kind, out: Tensor, batch: Batch, depth_mean: float, depth_std: float) -> Tensor:
    """Cross-entropy of pixels, of heatmaps or of the class; absolute error of the standardised depth."""
    if kind == "segmentation":
        assert batch.masks is not None
        return F.cross_entropy(out, batch.masks, ignore_index=IGNORED)
    if kind == "class":
        assert batch.attributes is not None
        return F.cross_entropy(out, batch.attributes[:, 0])
    if kind == "depth":
        assert batch.depth is not None
        known = ~batch.depth.isnan()
        return F.l1_loss(out[:, 0][known], (batch.depth[known] - depth_mean) / depth_std)
    assert batch.keypoints is not None
    labeled = batch.keypoints[..., 2] > 0
    target = _heatmaps(batch.keypoints, out.shape[-1]).flatten(2)
    return -(target * out.flatten(2).log_softmax(dim=-1)).sum(dim=-1)[labeled].mean()


def _heatmaps(points: Tensor, side: int) -> Tensor:
    """A normalised Gaussian around each point: (B, P, side, side)."""
    centers = torch.arange(side) + 0.5
    x = torch.exp(-(((centers - points[..., :1]) / HEATMAP_SIGMA) ** 2) / 2)
    y = torch.exp(-(((centers - points[..., 1:2]) / HEATMAP_SIGMA) ** 2) / 2)
    maps = y.unsqueeze(-1) * x.unsqueeze(-2)
    return maps / maps.sum(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
