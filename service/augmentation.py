"""The augmentation steps a request may name; names and parameters follow Albumentations."""

from typing import Annotated, Literal

from pydantic import Field

from service.label_schema import Record


class HorizontalFlip(Record):
    """Flip left to right; keypoints, classes and attributes swap as their `mirror` says."""

    name: Literal["HorizontalFlip"]
    p: float = Field(default=0.5, ge=0.0, le=1.0, description="probability")


AugmentStep = Annotated[HorizontalFlip, Field()]
