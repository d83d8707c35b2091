"""A map over processes that keeps the order and never runs far ahead; small ones need none.

The processes are not those of `multiprocessing`: the children of a forked, threaded process must not be forks of it,
and those that `multiprocessing` starts afresh would import the program's main module, and torch with it.
"""

import os
import pickle
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, Pipe, wait
from statistics import median
from typing import Any, Generic, TypeVar

from workers.cores import usable_cores
from workers.public_errors import process_lost

T = TypeVar("T")
R = TypeVar("R")

TRIED = 32
"""Items worked on here to see how long one takes."""

WORTH_S = 1.5
"""Seconds of work left for which processes are started: each takes half a second of processor time to begin."""

MOST_PROCESSES = 16
"""No more can be kept busy: what is done here for each item takes a tenth of the work or so."""

_TASK_ITEMS, _TASK_BYTES = 64, 2**20
"""A task is full at the first of the two."""

_TASKS_AHEAD = 3
"""For each process: one to work on, one to go on with, and one that waits for its turn to be given."""

_MOST_BYTES = 64 * 2**20
"""Of items under way. Few more, if single ones are larger than a task."""

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
"""There is a process for every core already."""


@dataclass(frozen=True)
class Work(Generic[T, R]):
    """What is done to each item. All that is sent can be pickled."""

    function: Callable[[T], R]
    """Pure: what it raises it would raise again. It is sent to each process once."""
    needed: Callable[[T], T]
    """What is sent of an item."""
    size: Callable[[T], int]
    """Bytes of an item, roughly."""


def process_map(work: Work[T, R], items: Iterable[T], count: int) -> Generator[tuple[T, R], None, None]:
    """Each item and what the work made of it, in the items' order, worked on by as many processes as there are cores if
    that is quicker. `count` is how many items are expected.

    Items are taken and results given in the calling thread, by which it all goes on; a bounded number is under way.
    What the work or the items raise is raised here. When this ends, however it ends, no process is left; nor when the
    calling process dies, on Linux at once.

    Raises `JobFailure`, to be retried, if a process is killed or cannot be started.
    """
    source = iter(items)
    seconds = []
    for item in islice(source, TRIED):
        began = time.perf_counter()
        result = work.function(work.needed(item))
        seconds.append(time.perf_counter() - began)
        yield item, result
    processes = min(MOST_PROCESSES, usable_cores())
    if processes == 1 or not seconds or (count - TRIED) * median(seconds) < WORTH_S:
        for item in source:
            yield item, work.function(work.needed(item))
    else:
        yield from _spread(work, source, processes)


class _Child:
    """A process that works for us."""

    def __init__(self, function: bytes) -> None:
        self.connection, theirs = Pipe()
        self.tasks: deque[_Task[Any, Any]] = deque()
        """Those it was sent and has not answered, in order."""
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; from workers.process_map_child import serve; "
            f"serve({theirs.fileno()}, {os.getpid()})"
        )
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-c", program],
                    stdin=subprocess.DEVNULL,
                    env=os.environ | _ONE_THREAD,
                    pass_fds=[theirs.fileno()],
                )
            except OSError as refusal:
                raise process_lost() from refusal
        self._send(function)

    def give(self, task: "_Task[Any, Any]", needed: list[Any]) -> None:
        """Let it work on a task of which it is sent `needed`."""
        self.tasks.append(task)
        self._send(pickle.dumps(needed, pickle.HIGHEST_PROTOCOL))

    def take(self) -> None:
        """Take its next answer."""
        try:
            answer = self.connection.recv_bytes()
        except (EOFError, OSError) as end:
            raise process_lost() from end
        task = self.tasks.popleft()
        task.results = pickle.loads(answer)  # noqa: S301  # from our own child
        task.answered = True

    def end(self) -> None:
        """Kill it, if it still runs."""
        self.connection.close()
        self._process.kill()
        self._process.wait()

    def _send(self, data: bytes) -> None:
        try:
            self.connection.send_bytes(data)
        except OSError as end:
            raise process_lost() from end


@dataclass
class _Task(Generic[T, R]):
    items: list[T]
    size: int
    results: list[R] | None = None
    answered: bool = False

    def pairs(self, work: Work[T, R]) -> Iterator[tuple[T, R]]:
        """The items with their results. What raised in the child is done again, and raises here."""
        if self.results is not None:
            yield from zip(self.items, self.results, strict=True)
        else:
            for item in self.items:
                yield item, work.function(work.needed(item))


def _spread(work: Work[T, R], items: Iterator[T], processes: int) -> Iterator[tuple[T, R]]:
    function = pickle.dumps(work.function, pickle.HIGHEST_PROTOCOL)
    children: list[_Child] = []
    tasks: deque[_Task[T, R]] = deque()
    try:
        children += (_Child(function) for _ in range(processes))
        for task in _tasks(items, work.size):
            _take_answers(children, wait_s=0)
            child = min(children, key=lambda child: len(child.tasks))
            child.give(task, [work.needed(item) for item in task.items])
            tasks.append(task)
            while tasks and (tasks[0].answered or _are_many(tasks, processes)):
                yield from _first(tasks, children).pairs(work)
        while tasks:
            yield from _first(tasks, children).pairs(work)
    finally:
        for child in children:
            child.end()


def _tasks(items: Iterator[T], size_of: Callable[[T], int]) -> Iterator[_Task[T, Any]]:
    task: _Task[T, Any] = _Task([], 0)
    for item in items:
        task.items.append(item)
        task.size += size_of(item)
        if len(task.items) >= _TASK_ITEMS or task.size >= _TASK_BYTES:
            yield task
            task = _Task([], 0)
    if task.items:
        yield task


def _are_many(tasks: deque[_Task[T, R]], processes: int) -> bool:
    return len(tasks) >= _TASKS_AHEAD * processes or sum(task.size for task in tasks) >= _MOST_BYTES


def _first(tasks: deque[_Task[T, R]], children: list[_Child]) -> _Task[T, R]:
    """Remove the first task, as soon as it is answered."""
    while not tasks[0].answered:
        _take_answers(children, wait_s=None)
    return tasks.popleft()


def _take_answers(children: list[_Child], wait_s: float | None) -> None:
    """Take an answer of every child that has one. Waits for one for so long, without end if None."""
    working: dict[Connection, _Child] = {child.connection: child for child in children if child.tasks}
    for connection in wait([*working], wait_s):
        working[connection].take()  # type: ignore[index]  # they are those given
