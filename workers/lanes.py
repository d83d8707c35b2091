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
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar, cast

import torch

from workers.cores import usable_cores
from workers.lifeline import die_with_parent
from workers.public_errors import process_lost

LARGEST_SIDE = 128
"""Pixels a side up to which images are made in lanes."""

_PART_PIXELS = 2**17
"""Of what a lane is given at once: little, since at the end all lanes wait for the last part."""

_MOST_LANES = 16

_AHEAD = 8
"""Parts for each lane that may be under way or wait for an earlier one."""

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


def part_size(resolution: int) -> int:
    """How many images a lane is given to make at once."""
    return max(1, _PART_PIXELS // resolution**2)


class Lanes(Generic[T]):
    """Processes that each make parts of a range, on one core. Use as a context manager: on leaving it, however it is
    left, none of them runs any more; nor when this process dies, on Linux at once.

    They are forked from this one as it is when they are begun: it must have no thread but its own by then, and have
    computed nothing with more. What it has loaded they share.
    """

    def __init__(self, make: Callable[[Iterator[int], Tell], Iterator[T]], count: int) -> None:
        """
        Args:
            make: called in a lane with increasing indices, which it takes as it needs them, to the end, and a way to
                tell; gives one result for each, in order. Results and what is told can be pickled.
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
        self, indices: range, part: int, told: Callable[[Any], None], watch: Callable[[], None]
    ) -> Generator[T, None, None]:
        """What `make` gives for `indices`, in order. A bounded number of them is under way.

        Args:
            part: how many consecutive indices a lane is given at once.
            told: called with everything that a lane tells, at once.
            watch: called often, and may raise to stop the work.

        Raises:
            JobFailure: a lane was killed or cannot be started; to be retried.
            Exception: whatever `make` raises, with the lane's traceback as a note.
        """
        made: dict[int, T] = {}
        upcoming = delivered = indices.start

        def next_part() -> range | None:
            nonlocal upcoming
            if upcoming >= min(indices.stop, delivered + _AHEAD * part * self.count):
                return None
            start, upcoming = upcoming, min(indices.stop, upcoming + part)
            return range(start, upcoming)

        while delivered < indices.stop:
            for lane in self._lanes:
                if lane.idle and (first := next_part()):
                    lane.give(first)
            watch()
            for lane in self._with_news():
                kind, value = lane.receive()
                if kind == "made":
                    made |= {lane.due.popleft(): result for result in value}
                elif kind == "told":
                    told(value)
                elif kind == "next":
                    lane.give(next_part())
                elif kind == "raised":
                    raise cast(Exception, value)
            while delivered in made:
                yield made.pop(delivered)
                delivered += 1

    def _with_news(self) -> "list[_Lane]":
        by_connection = {lane.connection: lane for lane in self._lanes}
        return [by_connection[cast(Connection, ready)] for ready in wait([*by_connection], _LOOK_S)]

    def _end(self) -> None:
        for lane in self._lanes:
            lane.end()
        self._lanes.clear()


_News = tuple[Literal["made", "told", "next", "complete", "raised"], Any]


class _Lane:
    """One of the processes. idle: whether it waits for a first part. due: the indices that it was given and that it has
    not made, in order.

    It asks for the next part as soon as it begins one, so that it need not wait for it. Where there is none, it
    completes those it has, and is idle.
    """

    def __init__(self, make: Callable[[Iterator[int], Tell], Iterator[Any]], others: list[Connection]) -> None:
        self.idle = True
        self.due: deque[int] = deque()
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

    def give(self, part: range | None) -> None:
        """Its first part, or what it asked for."""
        self.idle = False
        self.due.extend(part or ())
        try:
            self.connection.send(part)
        except OSError as end:
            raise process_lost() from end

    def receive(self) -> _News:
        """What it says next; waits for it."""
        try:
            news: _News = self.connection.recv()
        except (EOFError, OSError) as end:
            raise process_lost() from end
        if news[0] == "complete":
            self.idle = True
        return news

    def end(self) -> None:
        """Kill it."""
        self.connection.close()
        self._process.kill()
        self._process.join()


def _serve(
    connection: Connection,
    strangers: list[Connection],
    make: Callable[[Iterator[int], Tell], Iterator[Any]],
    parent_pid: int,
) -> None:
    """A lane's life: make what it is sent, until nobody is at the other end."""
    die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    for stranger in strangers:
        stranger.close()
    torch.set_num_threads(1)

    def say(kind: str, value: Any = None) -> None:
        try:
            connection.send((kind, value))
        except OSError:
            os._exit(1)  # nobody is there to hear of anything

    def parts() -> Iterator[range]:
        try:
            while (part := connection.recv()) is not None:
                say("next")
                yield part
        except (EOFError, OSError):
            os._exit(1)

    while True:
        connection.poll(None)  # to wait for a first part is not to work
        try:
            results = make(chain.from_iterable(parts()), partial(say, "told"))
            while some := list(islice(results, _SENT_TOGETHER)):
                say("made", some)
        except Exception as error:  # noqa: BLE001  # raised again over there
            say("raised", _as_can_be_sent(error))
            return
        say("complete")


def _as_can_be_sent(error: Exception) -> Exception:
    """The error with its traceback as a note, or a `RuntimeError` in its place if it cannot be pickled."""
    story = "".join(traceback.format_exception(error))
    error.add_note(f"In a lane:\n{story}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # what has just been pickled
    except Exception:  # noqa: BLE001  # whatever its own pickling raises
        return RuntimeError(story)
    return error
