"""Order is kept, nothing runs far ahead, and errors come through."""

import threading
import time
from collections.abc import Iterator

import pytest

from workers.ordered_map import ordered_map


def test_results_come_in_order() -> None:
    def slowly(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    assert list(ordered_map(slowly, range(50), threads=4, ahead=8)) == [n * n for n in range(50)]


def test_several_threads_work_at_once() -> None:
    together = threading.Barrier(3, timeout=10)
    assert list(ordered_map(lambda _: together.wait() >= 0, range(3), threads=3, ahead=8)) == [True] * 3


def test_no_more_is_taken_than_may_wait() -> None:
    taken, gate = 0, threading.Event()

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    results = ordered_map(lambda number: (gate.wait(10), number)[1], items(), threads=2, ahead=5)
    threading.Timer(0.2, gate.set).start()
    assert next(results) == 0
    assert taken == 5
    assert list(results) == list(range(1, 100))


def test_what_is_raised_comes_through_and_threads_end() -> None:
    def divide(number: int) -> float:
        return 1 / number

    with pytest.raises(ZeroDivisionError):
        list(ordered_map(divide, [3, 2, 1, 0, 5], threads=2, ahead=3))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encode")]
