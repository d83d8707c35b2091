"""What a request's balance means for a project: its names looked up in the label schema."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from service.label_schema import LabelSchema
from service.problems import Complaint
from service.requests import Balance

_NAMED = 20
"""How many values an answer names."""

_Place = tuple[int, int]
"""Index of an attribute, and of one of its values."""


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
    spellings = _Spellings(schema)
    for name, samples in balance.classes.items():
        found = spellings.meant_by(name)
        if len(found) == 1:
            items.append(BalanceItem(name, samples, attribute=found[0]))
        else:
            complaints.append(spellings.complaint(name))
    classes = [entry.name for entry in schema.classes]
    for name, wanted in balance.coverage.items():
        if name in classes:
            items.append(BalanceItem(name, wanted.samples, coverage=(classes.index(name), wanted.min_share)))
        else:
            remedy = f"choose among {', '.join(classes)}" if classes else "the project has no segmentation"
            message = "the project has no such class"
            complaints.append(Complaint(field=f"balance.coverage.{name}", message=message, remedy=remedy))
    return items, complaints


class _Spellings:
    """How the values of a schema's attributes can be written: `attribute=value`, or the value alone.

    The first goes before a value that reads the same: it is what an answer advises.
    """

    def __init__(self, schema: LabelSchema) -> None:
        self._forms: dict[_Place, tuple[str, str]] = {}
        self._whole: dict[str, list[_Place]] = {}
        self._alone: dict[str, list[_Place]] = {}
        for owner, attribute in enumerate(schema.attributes):
            for index, value in enumerate(attribute.values):
                place, whole = (owner, index), f"{attribute.name}={value}"
                self._forms[place] = whole, value
                self._whole.setdefault(whole, []).append(place)
                self._alone.setdefault(value, []).append(place)

    def meant_by(self, name: str) -> list[_Place]:
        """What `name` can mean. Even a whole spelling may mean several: `a=b=c`, where `a` and `a=b` are attributes."""
        return self._whole.get(name) or self._alone.get(name, [])

    def clear(self, places: Iterable[_Place]) -> list[str]:
        """A spelling of each that means no other, as far as there is one; not more of them than an answer can hold."""
        found = (next((form for form in self._forms[place] if len(self.meant_by(form)) == 1), None) for place in places)
        return list(islice((form for form in found if form), _NAMED))

    def complaint(self, name: str) -> Complaint:
        """What is wrong with a `name` that does not mean exactly one value."""
        field, found = f"balance.class.{name}", self.meant_by(name)
        if found:
            message = "several attributes have this value"
            spellings = self.clear(found)
            remedy = f"write {' or '.join(spellings)}" if spellings else "leave it out: no spelling tells them apart"
        else:
            message = "no attribute of the project has this value"
            spellings = self.clear(self._forms)
            remedy = f"choose among {', '.join(spellings)}" if spellings else "the project has no attributes"
        return Complaint(field=field, message=message, remedy=remedy)
