"""Small images side by side: on a CPU, one process an image beats all threads on one.

Below some size, what the threads of one convolution have to do is over before they have met; batches that go their own
ways use the whole processor. They go in processes, since threads would wait for each other's Python. Which batch goes
which way changes nothing in it.
"""

import multiprocessing
import os
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar, cast

import torch

from workers.cores import usable_cores
from workers.lifeline import die_with_parent
from workers.public_errors import process_lost

LARGEST_SIDE = 128
"""Pixels a side up to which images are made in lanes."""

_BLOCK_PIXELS = 2**21
"""Of one lane's turn at most: many batches, so that the last one, which may not be full, does not count."""

_MOST_LANES = 16

_AHEAD = 2
"""Blocks for each lane that may be under way or wait for an earlier one."""

_SENT_TOGETHER = 16
"""Results that go from a lane to us at once."""

_LOOK_S = 0.1
"""Between two looks at whether to go on, while nothing comes."""

T = TypeVar("T")

Tell = Callable[[Any], None]
"""Says something to the process that the lanes work for."""


def runs_in_lanes(device: torch.device, resolution: int) -> bool:
    """Whether a process an image is quicker here."""
    return device.type == "cpu" and resolution <= LARGEST_SIDE


def lane_count() -> int:
    """How many lanes this machine has."""
    return min(_MOST_LANES, usable_cores())


def blocks(indices: range, lanes: int, resolution: int) -> list[range]:
    """`indices` in consecutive parts, each of which a lane makes in one turn: as many for every lane, since one that
    works alone at the end would keep the others waiting."""
    most, count = max(1, _BLOCK_PIXELS // resolution**2), len(indices)
    turns = -(-count // (lanes * most))
    size = max(1, -(-count // (lanes * turns))) if count else 1
    return [indices[start : start + size] for start in range(0, count, size)]


class Lanes(Generic[T]):
    """Processes that make parts of a range, each on one core. Use as a context manager: on leaving it, however it is
    left, none of them runs any more; nor when this process dies, on Linux at once.

    They are forked from this one as it is when they are begun: it must have no thread but its own by then, and have
    computed nothing with more. What it has loaded they share.
    """

    def __init__(self, make: Callable[[range, Tell], Iterator[T]], count: int) -> None:
        """
        Args:
            make: called in a lane with consecutive indices and a way to tell; what it gives and tells can be pickled.
            count: of lanes.
        """
        self.count = count
        self._make = make
        self._lanes: list[_Lane] = []

    def __enter__(self) -> "Lanes[T]":
        try:
            for _ in range(self.count):
                self._lanes.append(_Lane(self._make, [lane.connection for lane in self._lanes]))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def results(
        self, parts: Sequence[range], told: Callable[[Any], None], watch: Callable[[], None]
    ) -> Generator[T, None, None]:
        """What `make` gives for each part, in the order of `parts`. A bounded number of parts is under way.

        Args:
            told: called with everything that a lane tells, at once.
            watch: called often, and may raise to stop the work.

        Raises:
            JobFailure: a lane was killed or cannot be started; to be retried.
            Exception: whatever `make` raises, with the lane's traceback as a note.
        """
        made: dict[int, deque[T]] = {}
        complete: set[int] = set()
        first = upcoming = 0
        while first < len(parts):
            for lane in self._lanes:
                if lane.part is None and upcoming < min(len(parts), first + _AHEAD * len(self._lanes)):
                    lane.begin(upcoming, parts[upcoming])
                    upcoming += 1
            watch()
            for lane in self._with_news():
                part, (kind, value) = lane.part, lane.receive()
                assert part is not None  # noqa: S101  # idle lanes say nothing
                if kind == "made":
                    made.setdefault(part, deque()).extend(value)
                elif kind == "told":
                    told(value)
                elif kind == "complete":
                    complete.add(part)
                else:
                    raise cast(Exception, value)
            yield from made.pop(first, ())
            while first in complete:
                first += 1
                yield from made.pop(first, ())

    def _with_news(self) -> "list[_Lane]":
        by_connection = {lane.connection: lane for lane in self._lanes}
        return [by_connection[cast(Connection, ready)] for ready in wait([*by_connection], _LOOK_S)]

    def _end(self) -> None:
        for lane in self._lanes:
            lane.end()
        self._lanes.clear()


_News = tuple[Literal["made", "told", "complete", "raised"], Any]


class _Lane:
    """One of the processes. part: the number of what it is making."""

    def __init__(self, make: Callable[[range, Tell], Iterator[Any]], others: list[Connection]) -> None:
        self.part: int | None = None
        context = multiprocessing.get_context("fork")
        self.connection, theirs = context.Pipe()
        # A lane that held the ends of the others' pipes would not let them see that this process is gone.
        strangers = [*others, self.connection]
        self._process = context.Process(target=_serve, args=(theirs, strangers, make, os.getpid()), daemon=True)
        try:
            with theirs:
                self._process.start()
        except OSError as refusal:
            self.connection.close()
            raise process_lost() from refusal

    def begin(self, number: int, indices: range) -> None:
        """Have it make a part, which is called by a number."""
        self.part = number
        try:
            self.connection.send(indices)
        except OSError as end:
            raise process_lost() from end

    def receive(self) -> _News:
        """What it says next; waits for it."""
        try:
            news: _News = self.connection.recv()
        except (EOFError, OSError) as end:
            raise process_lost() from end
        if news[0] == "complete":
            self.part = None
        return news

    def end(self) -> None:
        """Kill it."""
        self.connection.close()
        self._process.kill()
        self._process.join()


def _serve(
    connection: Connection,
    strangers: list[Connection],
    make: Callable[[range, Tell], Iterator[Any]],
    parent_pid: int,
) -> None:
    """A lane's life: make what it is sent, until nobody is at the other end."""
    die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    for stranger in strangers:
        stranger.close()
    torch.set_num_threads(1)

    def say(kind: str, value: Any) -> None:
        try:
            connection.send((kind, value))
        except OSError:
            os._exit(1)  # nobody is there to hear of anything

    while True:
        try:
            part = connection.recv()
        except (EOFError, OSError):
            return
        try:
            results = make(part, lambda value: say("told", value))
            while some := list(islice(results, _SENT_TOGETHER)):
                say("made", some)
        except Exception as error:  # noqa: BLE001  # raised again over there
            say("raised", _as_can_be_sent(error))
            return
        say("complete", None)


def _as_can_be_sent(error: Exception) -> Exception:
    """The error with its traceback as a note, or a `RuntimeError` in its place if it cannot be pickled."""
    story = "".join(traceback.format_exception(error))
    error.add_note(f"In a lane:\n{story}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # what has just been pickled
    except Exception:  # noqa: BLE001  # whatever its own pickling raises
        return RuntimeError(story)
    return error
