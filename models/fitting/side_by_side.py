"""Trainings that know nothing of each other, each on one thread.

A training of small networks on small images is many short steps, which a second thread hardly makes shorter; two
trainings beside each other take little longer than one.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Found = TypeVar("Found")
Work = Callable[[Callable[[int], None]], Found]
"""A training; it is given a function to call with the steps done."""

REPORTED_EVERY_S = 0.2


class _StoppedError(Exception):
    """Nobody waits for this training any more."""


def side_by_side(works: Sequence[Work[Found]], report: Callable[[int], None]) -> list[Found]:
    """What each comes to, whatever the number of threads: as many at once as torch has threads, one thread each.

    Args:
        report: called in the caller's thread with the steps that all have done together. When it raises, or one of the
            trainings does, the others stop at their next step.
    """
    threads, stop = torch.get_num_threads(), threading.Event()
    done = [0] * len(works)

    def begin(place: int) -> Found:
        def tell(steps: int) -> None:
            if stop.is_set():
                raise _StoppedError
            done[place] = steps

        return works[place](tell)

    with ThreadPoolExecutor(min(threads, len(works)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            running = [pool.submit(begin, place) for place in range(len(works))]
            left = set(running)
            while left:
                ended, left = wait(left, REPORTED_EVERY_S, FIRST_EXCEPTION)
                for each in ended:
                    each.result()
                report(sum(done))
            return [each.result() for each in running]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            stop.set()
            # What a thread sets for itself, threads that begin later would take over.
            torch.set_num_threads(threads)


def one_by_one(works: Sequence[Work[Found]], report: Callable[[int], None]) -> list[Found]:
    """What each comes to, one after the other, with all threads. `report` is called with the steps done in all."""
    found, before, done = list[Found](), 0, 0

    def tell(steps: int) -> None:
        nonlocal done
        done = steps
        report(before + steps)

    for work in works:
        found.append(work(tell))
        before, done = before + done, 0
    return found
