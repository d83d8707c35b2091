"""A dataset's samples to the bytes of its zip in one format."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from operator import attrgetter
from typing import TypeVar

from workers.formats import Description, Enclosures, Format, stored_zip
from workers.formats.format import Worked
from workers.process_map import Work, process_map
from workers.tars import PackedSample

R = TypeVar("R")


def dataset_zip(
    layout: Format[R],
    samples: Iterable[PackedSample],
    count: int,
    description: Description,
    enclosures: Enclosures,
    passed: Callable[[PackedSample], None] | None = None,
) -> Generator[bytes, None, None]:
    """The bytes of the zip, few of them small. They depend on the samples and what is said of them alone.

    The samples, `count` of them, pass by once, and `passed` is told of each when its turn comes. Close what this gives,
    so that processes which work on samples end with it. Raises what the samples and `passed` raise, and `JobFailure` if
    such a process is killed.
    """
    with closing(_worked(layout, samples, count, description)) as worked:
        yield from stored_zip(layout.members(_told(worked, passed), description, enclosures))


def _worked(
    layout: Format[R], samples: Iterable[PackedSample], count: int, description: Description
) -> Generator[Worked[R], None, None]:
    if layout.work is None:
        for sample in samples:
            yield sample, None  # type: ignore[misc]  # R is None, then
    else:
        yield from process_map(Work(layout.work(description), layout.needed, attrgetter("size")), samples, count)


def _told(samples: Iterable[Worked[R]], passed: Callable[[PackedSample], None] | None) -> Iterator[Worked[R]]:
    for sample, made in samples:
        yield sample, made
        if passed is not None:
            passed(sample)
