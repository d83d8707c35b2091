"""Which seeds are held out together."""

import torch
from torch import Tensor

from models.fitting.seed_labels import LabelTensors
from models.heads.segmentation import IGNORED


def deal(rows: Tensor, labels: LabelTensors, folds: int, seed: int) -> list[Tensor]:
    """`rows` in so many parts of about one size, at random, but for this: seeds whose rarest class, point or value is
    the same go to different parts, so that what is left to learn from has it.

    Args:
        rows: int64 (n,), at least `folds` of them.
        labels: of all seeds.
    """
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    shown = _shown(labels.rows(shuffled))
    if shown.shape[1]:
        # Those whose rarest is the same lie side by side, and are dealt one by one.
        count = shown.sum(dim=0)
        rank = count * len(count) + torch.arange(len(count))
        rarest = torch.where(shown, rank, rank.max() + 1).amin(dim=1)
        shuffled = shuffled[rarest.argsort(stable=True)]
    return [shuffled[fold::folds] for fold in range(folds)]


def _shown(labels: LabelTensors) -> Tensor:
    """What each image shows: bool (n, classes + points + values of attributes), on the CPU."""
    columns: list[Tensor] = []
    if labels.masks is not None:
        counts = [torch.bincount(mask.flatten().long(), minlength=IGNORED + 1)[:IGNORED] for mask in labels.masks]
        columns.append(torch.stack(counts).cpu() > 0)
    if labels.keypoints is not None:
        columns.append(labels.keypoints[..., 2].cpu() > 0)
    if labels.attributes is not None:
        for values in labels.attributes.cpu().unbind(dim=1):
            columns.append(values.unsqueeze(1) == torch.arange(max(0, int(values.max())) + 1))
    return torch.cat(columns, dim=1) if columns else torch.zeros(0, 0, dtype=torch.bool)
