"""What a request's balance means for a project: its names looked up in the label schema."""

from dataclasses import dataclass

from service.label_schema import LabelSchema
from service.problems import Complaint
from service.requests import Balance


@dataclass(frozen=True, slots=True)
class BalanceItem:
    """One line of a balance: how many samples are to show what."""

    name: str
    samples: int
    attribute: tuple[int, int] | None = None
    """Index of the attribute, and of its value."""
    coverage: tuple[int, float] | None = None
    """Index of the segmentation class, and its least share of the image's pixels."""


def look_up(balance: Balance, schema: LabelSchema) -> tuple[list[BalanceItem], list[Complaint]]:
    """The lines of `balance`, and a complaint about each that names what the project does not have."""
    items: list[BalanceItem] = []
    complaints: list[Complaint] = []
    for name, samples in balance.classes.items():
        found = _attribute_values(name, schema)
        if len(found) == 1:
            items.append(BalanceItem(name, samples, attribute=found[0]))
        else:
            complaints.append(_attribute_complaint(name, found, schema))
    classes = [entry.name for entry in schema.classes]
    for name, wanted in balance.coverage.items():
        if name in classes:
            items.append(BalanceItem(name, wanted.samples, coverage=(classes.index(name), wanted.min_share)))
        else:
            remedy = f"choose among {', '.join(classes)}" if classes else "the project has no segmentation"
            message = "the project has no such class"
            complaints.append(Complaint(field=f"balance.coverage.{name}", message=message, remedy=remedy))
    return items, complaints


def _attribute_values(name: str, schema: LabelSchema) -> list[tuple[int, int]]:
    owner, separator, value = name.rpartition("=")
    return [
        (place, attribute.values.index(value))
        for place, attribute in enumerate(schema.attributes)
        if value in attribute.values and (not separator or attribute.name == owner)
    ]


def _attribute_complaint(name: str, found: list[tuple[int, int]], schema: LabelSchema) -> Complaint:
    field = f"balance.class.{name}"
    if found:
        owners = " or ".join(f"{schema.attributes[place].name}={name}" for place, _ in found)
        return Complaint(field=field, message="several attributes have this value", remedy=f"write {owners}")
    values = [f"{attribute.name}={value}" for attribute in schema.attributes for value in attribute.values]
    remedy = f"choose among {', '.join(values[:20])}" if values else "the project has no attributes"
    return Complaint(field=field, message="no attribute of the project has this value", remedy=remedy)
