"""Steps that only leave traces. Run as a program, it does a few of them, the last of which never ends."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality.record import Record
from benchmarks.quality.run import run
from benchmarks.quality.steps import Facts, Place, Report, Step, digest


def log(place: Place) -> list[list[str]]:
    """The traces: name, process, start and end of each step that was made."""
    path = place.root / "log"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def _leave(place: Place, name: str, started: float) -> None:
    with (place.root / "log").open("a") as file:
        file.write(f"{name} {os.getpid()} {started} {time.monotonic()}\n")


@dataclass(frozen=True)
class Stored(Step):
    """Keeps its value in a folder that is removed once nothing needs it."""

    name: str
    value: int = 0

    BULKY = True

    @property
    def title(self) -> str:
        return self.name

    def make(self, place: Place, report: Report) -> Facts:
        started = time.monotonic()
        place.fill(self, self._write)
        _leave(place, self.name, started)
        return {}

    def _write(self, folder: Path) -> None:
        (folder / "value").write_text(str(self.value))


@dataclass(frozen=True)
class Sum(Step):
    """Adds up what it needs. seconds: it takes at least so long. way: how it ends."""

    name: str
    parts: tuple[Step, ...] = ()
    seconds: float = 0.0
    way: str = "well"

    KEEPS = False

    @property
    def title(self) -> str:
        return self.name

    @property
    def needs(self) -> tuple[Step, ...]:
        return self.parts

    def make(self, place: Place, report: Report) -> Facts:
        started = time.monotonic()
        while time.monotonic() < started + self.seconds:
            time.sleep(0.02)
            report(1, 2)
        if self.way == "raises":
            raise ValueError("no sum today")
        if self.way == "dies":
            os._exit(3)
        total = sum(int((place.folder(part) / "value").read_text()) for part in self.parts)
        _leave(place, self.name, started)
        return {"total": total}


__all__ = ["FIRST", "SECOND", "Stored", "Sum", "digest", "log"]

FIRST, SECOND = Sum("first", (Stored("one", 1),)), Sum("second", (Stored("two", 2),))


if __name__ == "__main__":
    here = Place(Path(sys.argv[1]), Path())
    run([FIRST, SECOND, Sum("third", seconds=600.0)], here, Record(here.root / "results.jsonl"), 1)
