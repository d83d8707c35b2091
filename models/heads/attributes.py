"""The members' attribute logits → values, and how much the members disagree."""

import torch
from torch import Tensor

from models.heads.segmentation import jensen_shannon, vote


def decide(members: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """From each attribute's logits (B, M, V): its value of largest mean probability, int64 (B, A), and the mean
    divergence of the attributes, float32 (B,)."""
    each = [logits.log_softmax(dim=2) for logits in members]
    values = torch.stack([vote(log_p, dim=2) for log_p in each], dim=1)
    return values, torch.stack([jensen_shannon(log_p, dim=2) for log_p in each], dim=1).mean(dim=1)
