"""What a dataset format is, and what it needs to know about the dataset beside the samples."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from service.label_schema import LabelSchema
from service.requests import DatasetFormat, Split
from workers.formats.members import Member
from workers.split import Part, part_of, parts_of
from workers.tars import PackedSample

R = TypeVar("R")

Worked = tuple[PackedSample, R]
"""A sample, and what a format's work made of it."""


@dataclass(frozen=True)
class Enclosures:
    """The small files beside the samples. They are asked for last, when every sample has been seen."""

    dataset: Callable[[], dict[str, Any]]
    """dataset.json"""
    card: Callable[["Format[Any]"], str]
    """README.md of a zip of this format."""
    preview: Callable[[], bytes]
    """preview.png"""


@dataclass(frozen=True)
class Description:
    """What the samples of a dataset have in common. It can be pickled."""

    name: str
    schema: LabelSchema
    side: int
    """Width and height of every image in pixels."""
    split: Split | None
    has_seeds: bool = False
    """Whether the project's seeds come behind the generated samples."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts the dataset is cut into; `train` alone without a split."""
        parts = parts_of(self.split)
        return ("train", *parts) if self.has_seeds and "train" not in parts else parts

    def part(self, sample: PackedSample) -> Part:
        """The part a sample is in; `train`, if it is a seed."""
        return "train" if sample.facts.origin == "seed" else part_of(sample.facts.source, self.split)


@dataclass(frozen=True)
class Format(Generic[R]):
    """One way to lay a dataset out in a zip."""

    name: DatasetFormat
    members: Callable[[Iterable[Worked[R]], Description, Enclosures], Iterator[Member]]
    """The files of the zip, made while the samples pass by once; what grows with them waits on disk."""
    files: Callable[[LabelSchema], dict[str, str]]
    """Path → what lies there, in Markdown."""
    snippet: Callable[[LabelSchema, Part], str]
    """Python that loads everything in one part, or in all where they lie together; run where the zip was unpacked."""
    work: Callable[[Description], Callable[[PackedSample], R]] | None = None
    """What takes most of the time, if there is such a thing: gives what is made of a sample, bytes above all, from that
    sample alone. Both can be pickled, so that other processes can do it. Without it, `members` is given None."""
    works_on_images: bool = False
    """Whether the work looks at images. It never does at depth."""

    def needed(self, sample: PackedSample) -> PackedSample:
        """`sample` with those pictures emptied that the work does not look at."""
        return replace(
            sample,
            image=sample.image if self.works_on_images else b"",
            depth=None if sample.depth is None else b"",
        )


def enclosed(enclosures: Enclosures, layout: Format[Any], front_matter: str = "") -> Iterator[Member]:
    """The files that every zip ends with. `front_matter` stands before everything else in README.md."""
    yield Member.of("dataset.json", json.dumps(enclosures.dataset(), indent=2).encode())
    yield Member.of("README.md", (front_matter + enclosures.card(layout)).encode())
    yield Member.of("preview.png", enclosures.preview())
