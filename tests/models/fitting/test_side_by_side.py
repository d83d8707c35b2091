"""Trainings beside each other."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from models.fitting.side_by_side import one_by_one, side_by_side

Tell = Callable[[int], None]


@pytest.fixture
def threads() -> Iterator[int]:
    """Two threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def counted(steps: int, name: str, tell: Tell) -> tuple[str, int]:
    """Steps that say so; how many threads there were."""
    for step in range(steps):
        tell(step + 1)
    return name, torch.get_num_threads()


def test_each_has_one_thread_and_the_rest_of_the_process_what_it_had(threads: int) -> None:
    told: list[int] = []
    works = [partial(counted, 5, name) for name in "abc"]
    assert side_by_side(works, told.append) == [("a", 1), ("b", 1), ("c", 1)]
    assert told == sorted(told) and told[-1] == 15
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (torch.get_num_threads(), later) == (threads, [threads])


def test_as_many_run_at_once_as_there_are_threads(threads: int) -> None:
    # Each waits for the other: one after the other, neither would come to an end.
    met = threading.Barrier(2, timeout=30)

    def meet(tell: Tell) -> int:
        return met.wait()

    assert sorted(side_by_side([meet, meet], lambda _: None)) == [0, 1]


def test_one_that_fails_stops_the_others(threads: int) -> None:
    failing, stopped = threading.Event(), threading.Event()

    def endless(tell: Tell) -> None:
        failing.set()
        try:
            while True:
                tell(1)
        finally:
            stopped.set()

    def wrong(tell: Tell) -> None:
        assert failing.wait(30)
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        side_by_side([endless, wrong, endless], lambda _: None)
    assert stopped.is_set() and torch.get_num_threads() == threads


def test_a_report_that_raises_stops_all(threads: int) -> None:
    begun: list[str] = []

    def endless(name: str, tell: Tell) -> None:
        begun.append(name)
        while True:
            tell(1)

    def cancelled(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side([partial(endless, name) for name in "abcd"], cancelled)
    assert len(begun) <= threads


def test_one_by_one_has_all_threads_and_counts_on(threads: int) -> None:
    told: list[int] = []
    works = [partial(counted, 2, "a"), partial(counted, 3, "b")]
    assert one_by_one(works, told.append) == [("a", threads), ("b", threads)]
    assert told == [1, 2, 3, 4, 5]
