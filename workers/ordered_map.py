"""A map over threads that keeps the order and never runs far ahead."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int) -> Generator[R, None, None]:
    """`function` of each item, in the items' order, worked out by `threads` threads.

    Items are taken in the calling thread, so that what they come from works there while the threads work on those
    before; at most `ahead` results wait. What the function or the items raise is raised here; unfinished work is
    dropped.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="encode")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            while waiting and (len(waiting) >= ahead or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
