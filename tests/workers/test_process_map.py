"""Order is kept, nothing runs far ahead, and no process outlives those it works for."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.workers.processes import children_of, kill, running, wait_for
from workers import process_map as module
from workers.lifeline import is_running
from workers.process_map import TRIED, Work, process_map
from workers.public_errors import JobFailure

MOST_AHEAD = 2 * 3 * 64
"""Items under way in two processes."""


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little there is to do."""
    monkeypatch.setattr(module, "WORTH_S", 0.0)
    monkeypatch.setattr(module, "usable_cores", lambda: 2)


def work_of(function: Callable[[int], Any], size: Callable[[int], int] = lambda _: 1) -> Work[int, Any]:
    return Work(function, lambda number: number, size)


def squared_by(number: int, sleep_s: float = 0.0) -> tuple[int, int]:
    time.sleep(sleep_s if number % 100 == 0 else 0)
    return number * number, os.getpid()


def divided(number: int) -> float:
    return 1 / (number - 500)


def refused_elsewhere(number: int, here: int) -> int:
    if os.getpid() != here:
        raise MemoryError
    return number


def named(number: int, length: int) -> bytes:
    return number.to_bytes(4, "big") * (length // 4)


def test_results_come_in_order_from_several_processes(two_processes: None) -> None:
    pairs = list(process_map(work_of(partial(squared_by, sleep_s=0.05)), iter(range(2000)), 2000))
    assert [item for item, _ in pairs] == list(range(2000))
    assert [square for _, (square, _) in pairs] == [number * number for number in range(2000)]
    assert {pid for _, (_, pid) in pairs[:TRIED]} == {os.getpid()}
    assert len({pid for _, (_, pid) in pairs[TRIED:]} - {os.getpid()}) == 2


@pytest.mark.parametrize(("count", "cores", "worth_s"), [(100, 8, 60.0), (100, 1, 0.0), (TRIED, 8, 1.0), (0, 8, 0.0)])
def test_little_work_and_lonely_cores_start_no_process(
    monkeypatch: pytest.MonkeyPatch, count: int, cores: int, worth_s: float
) -> None:
    monkeypatch.setattr(module, "WORTH_S", worth_s)
    monkeypatch.setattr(module, "usable_cores", lambda: cores)
    pairs = process_map(work_of(squared_by), iter(range(count)), count)
    assert [result for _, result in pairs] == [(number * number, os.getpid()) for number in range(count)]


def test_only_what_is_needed_is_sent_and_the_item_itself_comes_back(two_processes: None) -> None:
    items = [(number, "kept here") for number in range(500)]
    work: Work[tuple[int, str], tuple[int, str]] = Work(tuple, lambda item: (item[0], ""), lambda _: 1)
    pairs = list(process_map(work, iter(items), 500))
    assert all(one is other for (one, _), other in zip(pairs, items, strict=True))
    assert [result for _, result in pairs] == [(number, "") for number in range(500)]


def test_large_items_and_results_pass(two_processes: None) -> None:
    """Larger than what a socket holds, both ways at once."""
    items = [named(number, 2**20) for number in range(120)]
    assert list(process_map(Work(bytes, lambda item: item, len), iter(items), 120)) == [(item, item) for item in items]


def test_no_more_is_taken_than_may_be_under_way(two_processes: None) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield number

    with closing(process_map(work_of(squared_by), items(), 10_000)) as pairs:
        for number, (item, _) in enumerate(pairs):
            assert item == number
            assert taken <= number + 1 + MOST_AHEAD
            if number == 3000:
                break
    assert taken < 4000


def test_few_large_items_are_under_way(two_processes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 30 * 2**20)
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    with closing(process_map(work_of(squared_by, lambda _: 10 * 2**20), items(), 100)) as pairs:
        for number, _ in enumerate(pairs):
            assert taken <= number + 1 + 3


def test_what_is_raised_comes_through(two_processes: None) -> None:
    before = children_of(os.getpid())
    with pytest.raises(ZeroDivisionError):
        list(process_map(work_of(divided), iter(range(1000)), 1000))
    assert set(children_of(os.getpid())) <= set(before)


def test_what_a_child_cannot_do_is_done_here(two_processes: None) -> None:
    pairs = process_map(work_of(partial(refused_elsewhere, here=os.getpid())), iter(range(300)), 300)
    assert [result for _, result in pairs] == list(range(300))


def test_what_the_items_raise_comes_through(two_processes: None) -> None:
    def items() -> Iterator[int]:
        yield from range(300)
        raise KeyError("gone")

    before = children_of(os.getpid())
    with pytest.raises(KeyError, match="gone"):
        list(process_map(work_of(squared_by), items(), 1000))
    assert set(children_of(os.getpid())) <= set(before)


def test_one_that_stops_early_leaves_no_process(two_processes: None) -> None:
    before = set(children_of(os.getpid()))
    began = time.monotonic()
    with closing(process_map(work_of(partial(squared_by, sleep_s=30.0)), iter(range(1, 10_000)), 10_000)) as pairs:
        for item, _ in pairs:
            if item == 60:
                assert len(set(children_of(os.getpid())) - before) == 2
                break
    assert set(children_of(os.getpid())) <= before
    assert time.monotonic() - began < 10


@dataclass
class Killing:
    """Items, at the 400th of which one child is killed."""

    before: set[int]

    def __iter__(self) -> Iterator[int]:
        for number in range(10_000):
            if number == 400:
                kill(min(set(children_of(os.getpid())) - self.before))
            yield number


def test_a_killed_process_fails_the_job_which_may_be_retried(two_processes: None) -> None:
    before = set(children_of(os.getpid()))
    with pytest.raises(JobFailure) as failure:
        list(process_map(work_of(partial(squared_by, sleep_s=0.05)), Killing(before), 10_000))
    assert (failure.value.error.code, failure.value.error.retry) == ("worker-lost", True)
    assert set(children_of(os.getpid())) <= before


PARENT = """
import os
from tests.workers.test_process_map import squared_by, work_of
from workers import process_map as module
module.WORTH_S, module.usable_cores = 0.0, lambda: 2
for item, _ in module.process_map(work_of(squared_by), iter(range(10**9)), 10**9):
    if item == 1000:
        print("at work", flush=True)
"""


def test_processes_die_with_a_killed_parent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(["-c", PARENT], log) as parent:
        wait_for(lambda: log.read_text() == "at work\n", 30, "the children are at work")
        children = children_of(parent.pid)
        assert len(children) == 2
        kill(parent.pid)
        parent.wait()
        wait_for(lambda: not any(map(is_running, children)), 10, "the children have died")
