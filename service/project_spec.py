"""`project.json` as a client writes it."""

import json
from typing import Annotated, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from service.label_schema import Color, LabelClass, LabelKind, Record
from service.palette import fill_colors
from service.problems import Complaint

FILE = "project.json"


class ClassSpec(Record):
    """One class; its index in masks is its place in the list."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]
    color: Color | None = Field(default=None, description="`#rrggbb`; chosen for you if left out")


class ProjectSpec(Record):
    """What a project is to be."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
    generator: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    label_kinds: list[LabelKind] = Field(default=[LabelKind.SEGMENTATION], min_length=1)
    classes: list[ClassSpec] = Field(min_length=2)

    @field_validator("label_kinds")
    @classmethod
    def _each_kind_once(cls, kinds: list[LabelKind]) -> list[LabelKind]:
        if len(set(kinds)) < len(kinds):
            raise ValueError("each label kind is named once")
        return kinds

    @model_validator(mode="after")
    def _each_class_once(self) -> Self:
        if len({item.name.casefold() for item in self.classes}) < len(self.classes):
            raise ValueError("each class has a name of its own")
        return self

    def labeled_classes(self) -> list[LabelClass]:
        """The classes, each with a colour."""
        colors = fill_colors([item.color for item in self.classes])
        return [LabelClass(name=item.name, color=color) for item, color in zip(self.classes, colors, strict=True)]


def parse_project(data: bytes, max_classes: int) -> tuple[ProjectSpec | None, list[Complaint]]:
    """The project that `data` describes, or everything that is wrong with it."""
    try:
        spec = ProjectSpec.model_validate(json.loads(data.decode("utf-8-sig")))
    except ValidationError as error:
        return None, [_complaint(item["type"], item["loc"], item["msg"]) for item in error.errors(include_input=False)]
    except (ValueError, RecursionError):
        return None, [Complaint(file=FILE, message="it is not JSON", remedy="write one JSON object in UTF-8")]
    if len(spec.classes) > max_classes:
        message = f"{len(spec.classes)} classes are more than {max_classes}"
        return None, [Complaint(file=FILE, field="classes", message=message, remedy="join some classes")]
    return spec, []


def _complaint(kind: str, place: tuple[str | int, ...], message: str) -> Complaint:
    field = ".".join(str(part)[:64] for part in place) or None
    if kind == "extra_forbidden":
        return Complaint(file=FILE, field=field, message="unknown field", remedy="remove it, or correct its spelling")
    return Complaint(file=FILE, field=field, message=message.removeprefix("Value error, "))
