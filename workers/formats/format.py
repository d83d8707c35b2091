"""What a dataset format is, and what it needs to know about the dataset beside the samples."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from service.label_schema import LabelSchema
from service.requests import DatasetFormat, Split
from workers.formats.members import Member
from workers.split import Part, part_of, parts_of
from workers.tars import PackedSample


@dataclass(frozen=True)
class Enclosures:
    """The small files beside the samples. They are asked for last, when every sample has been seen."""

    dataset: Callable[[], dict[str, Any]]
    """dataset.json"""
    card: Callable[["Format"], str]
    """README.md of a zip of this format."""
    preview: Callable[[], bytes]
    """preview.png"""


@dataclass(frozen=True)
class Description:
    """What the samples of a dataset have in common."""

    name: str
    schema: LabelSchema
    side: int
    """Width and height of every image in pixels."""
    split: Split | None
    enclosures: Enclosures
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
class Format:
    """One way to lay a dataset out in a zip."""

    name: DatasetFormat
    members: Callable[[Iterable[PackedSample], Description], Iterator[Member]]
    """The files of the zip, made while the samples pass by once; what grows with them waits on disk."""
    files: Callable[[LabelSchema], dict[str, str]]
    """Path → what lies there, in Markdown."""
    snippet: Callable[[LabelSchema], str]
    """Python that loads everything, run where the zip was unpacked."""


def enclosed(description: Description, layout: Format, front_matter: str = "") -> Iterator[Member]:
    """The files that every zip ends with. `front_matter` stands before everything else in README.md."""
    enclosures = description.enclosures
    yield Member.of("dataset.json", json.dumps(enclosures.dataset(), indent=2).encode())
    yield Member.of("README.md", (front_matter + enclosures.card(layout)).encode())
    yield Member.of("preview.png", enclosures.preview())
