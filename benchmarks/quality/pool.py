"""Processes that do one step after another.

A network this small keeps no two threads busy, but two networks side by side keep two cores busy: each process computes
with one thread, unless a step has the machine for itself.
"""

import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Literal

from benchmarks.quality.steps import Facts, Place, Step

BETWEEN_REPORTS_S = 0.5


@dataclass(frozen=True)
class Event:
    """What happened to the step of a worker. progress: done and total. done: facts. failed: why."""

    worker: int
    step: Step
    what: Literal["progress", "done", "failed"]
    progress: tuple[int, int] = (0, 0)
    facts: Facts | None = None
    why: str = ""


class Pool:
    """A fixed number of processes, for use with `with`; leaving it ends them, whatever they do."""

    def __init__(self, workers: int, place: Place) -> None:
        self.place = place
        self.steps: dict[int, Step] = {}
        self.context = multiprocessing.get_context("spawn")
        self.workers: list[tuple[BaseProcess, Connection]] = [self._start() for _ in range(workers)]

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        for process, connection in self.workers:
            connection.close()
            process.terminate()
            process.join()

    def _start(self) -> tuple[BaseProcess, Connection]:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=work, args=(theirs, self.place), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    @property
    def idle(self) -> list[int]:
        """The workers without a step."""
        return [worker for worker in range(len(self.workers)) if worker not in self.steps]

    def begin(self, worker: int, step: Step, threads: int) -> None:
        """Give an idle worker a step, to compute with so many threads."""
        self.steps[worker] = step
        self.workers[worker][1].send((step, threads))

    def events(self) -> Iterator[Event]:
        """Wait until something happens; what happened. A process that ended is replaced, and its step has failed."""
        busy = {connection: worker for worker, (_, connection) in enumerate(self.workers) if worker in self.steps}
        for connection in wait(list(busy)):
            assert isinstance(connection, Connection)
            worker = busy[connection]
            step = self.steps[worker]
            try:
                event: Event = Event(worker, step, **connection.recv())
            except (EOFError, ConnectionResetError):
                process = self.workers[worker][0]
                process.join()
                event = Event(worker, step, "failed", why=f"its process ended with exit code {process.exitcode}")
                connection.close()
                self.workers[worker] = self._start()
            if event.what != "progress":
                del self.steps[worker]
            yield event


def work(connection: Connection, place: Place) -> None:
    """A worker: do what comes until nothing more can come."""
    while True:
        try:
            step, threads = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            connection.send({"what": "done", "facts": _make(step, place, threads, connection)})
        except (BrokenPipeError, KeyboardInterrupt):
            return  # nobody is there to be told
        except Exception:  # noqa: BLE001 - whatever went wrong is told, and the next step may be right
            connection.send({"what": "failed", "why": traceback.format_exc()})


def _make(step: Step, place: Place, threads: int, connection: Connection) -> Facts:
    if torch := sys.modules.get("torch"):  # a step that computes has brought it along
        torch.set_num_threads(threads)
    started, worked = time.perf_counter(), time.process_time()
    told = started

    def report(done: int, total: int) -> None:
        nonlocal told
        if time.perf_counter() - told >= BETWEEN_REPORTS_S:
            told = time.perf_counter()
            connection.send({"what": "progress", "progress": (done, total)})

    facts = step.make(place, report)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - worked
    return facts | {"seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2)}
