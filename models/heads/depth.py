"""The members' standardised depths → depth in the seeds' unit, and how much the members differ."""

from torch import Tensor


def depth_of(members: Tensor, center: Tensor, scale: Tensor, limits: tuple[float, float]) -> Tensor:
    """The members' mean in the unit of the seeds, kept within the range that the seeds know.

    Args:
        members: (B, M, H, W), standardised. center, scale: of the seeds' known depths. limits: their least and largest.

    Returns:
        float32 (B, H, W).
    """
    return (members.mean(dim=1) * scale + center).clamp(*limits)


def depth_spread(members: Tensor, scale: Tensor) -> Tensor:
    """The standard deviation of the members' depths in the unit: (B, H, W)."""
    return members.std(dim=1, correction=0) * scale
