"""What the labels of a project are: its classes, keypoints, depth and attributes.

The same fields stand at the top level of `project.json`, of a project's record, and of what the API answers. A label
kind is in a project when its field is.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from service.printed import printed

Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-f]{6}$", to_lower=True)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]

NameOfOther = Annotated[str, StringConstraints(strip_whitespace=True)]
"""How one thing names another: without the spaces around it, as that one's name is."""

Printed = AfterValidator(printed)
"""Of what is written into files and code: older records may hold line breaks, which today are refused before."""

IGNORED = 255
"""The mask value of pixels whose class is not known."""


class Record(BaseModel):
    """Base of all records: unknown fields are refused, so that a typo is an error and not a default."""

    model_config = ConfigDict(extra="forbid")


class LabelKind(StrEnum):
    """What a label says about an image."""

    SEGMENTATION = "segmentation"
    KEYPOINTS = "keypoints"
    DEPTH = "depth"
    CLASS = "class"


class LabelClass(Record):
    """One class of a segmentation; its index is its place in the list."""

    name: Name
    color: Color
    mirror: NameOfOther | None = Field(
        default=None, description="the class it becomes when an image is flipped left to right"
    )


class Keypoint(Record):
    """One point that is looked for in every image; its index is its place in the list."""

    name: Name
    mirror: NameOfOther | None = Field(
        default=None, description="the point it becomes when an image is flipped left to right"
    )


class KeypointSchema(Record):
    """The points, and which of them a drawing joins.

    A point of an image is (x, y, v): x and y in pixels from the image's top left corner, so that the centre of the
    first pixel is (0.5, 0.5); v as in COCO: 0 not in the image or not known, 1 hidden, 2 visible.
    """

    points: list[Keypoint] = Field(min_length=1, max_length=256)
    skeleton: list[tuple[NameOfOther, NameOfOther]] = Field(
        default_factory=list, description="pairs of names to be joined by a line"
    )


class DepthSchema(Record):
    """How depth is measured. As 16-bit PNG, depth = pixel × scale; pixel 0 means not known."""

    unit: Annotated[str, StringConstraints(min_length=1, max_length=32, strip_whitespace=True), Printed] = "unit"
    scale: float = Field(gt=0, allow_inf_nan=False, description="depth of one step of a 16-bit pixel, in `unit`")
    minimum: float = Field(description="least known depth of the seeds, in `unit`")
    maximum: float = Field(description="largest known depth of the seeds, in `unit`")


class Attribute(Record):
    """One thing that is said about an image as a whole, such as its species."""

    name: Name
    values: list[Name] = Field(min_length=2, max_length=256)
    mirror: list[tuple[NameOfOther, NameOfOther]] = Field(
        default_factory=list, description="pairs of values that swap when an image is flipped left to right"
    )


class LabelSchema(Record):
    """The labels of a project, of one or more kinds."""

    classes: list[LabelClass] = Field(default_factory=list, description="of the segmentation")
    keypoints: KeypointSchema | None = None
    depth: DepthSchema | None = None
    attributes: list[Attribute] = Field(default_factory=list, description="of the image as a whole")

    @property
    def label_kinds(self) -> list[LabelKind]:
        """The kinds there are, in the order of `LabelKind`."""
        there = {
            LabelKind.SEGMENTATION: bool(self.classes),
            LabelKind.KEYPOINTS: self.keypoints is not None,
            LabelKind.DEPTH: self.depth is not None,
            LabelKind.CLASS: bool(self.attributes),
        }
        return [kind for kind, given in there.items() if given]

    @property
    def points(self) -> list[Keypoint]:
        """The keypoints, or none."""
        return self.keypoints.points if self.keypoints else []

    @model_validator(mode="after")
    def _at_least_one_kind(self) -> Self:
        if not self.label_kinds:
            raise ValueError("a project needs labels: give `classes`, `keypoints`, `depth` or `attributes`")
        return self

    def only_labels(self) -> "LabelSchema":
        """The schema without what a subclass adds."""
        return LabelSchema(**{name: getattr(self, name) for name in LabelSchema.model_fields})
