"""A process that reads what strangers sent: it answers, or it ends, and never takes its parent along."""

import faulthandler
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.processes import children_of
from workers.limited_child import ChildEnded, Limits, run_limited

LIMITS = Limits(memory_bytes=2**28, cpu_s=1, file_bytes=2**20)
Work = Callable[[Callable[[str], None]], dict[str, Any]]


def limited(work: Work) -> dict[str, Any]:
    return run_limited(work, LIMITS, lambda: None, lambda words: None)


def test_it_answers_and_tells_of_its_progress() -> None:
    told: list[str] = []

    def work(tell: Callable[[str], None]) -> dict[str, Any]:
        tell("half")
        return {"pid": os.getpid(), "limits": [1, 2]}

    answer = run_limited(work, LIMITS, lambda: None, told.append)
    assert answer["limits"] == [1, 2]
    assert answer["pid"] != os.getpid()
    assert told == ["half"]


def test_memory_within_the_limit_can_be_had() -> None:
    assert limited(lambda tell: {"length": len(bytearray(2**27))}) == {"length": 2**27}


def spin(tell: Callable[[str], None]) -> dict[str, Any]:
    while True:
        pass


def fill_the_disk(tell: Callable[[str], None]) -> dict[str, Any]:
    with Path(os.environ["FILLED"]).open("wb") as file:
        file.write(bytes(2**21))
    return {}


def overflow(tell: Callable[[str], None]) -> dict[str, Any]:
    return {"words": "x" * 2**21}


def crash(tell: Callable[[str], None]) -> dict[str, Any]:
    faulthandler.disable()
    os.abort()


@pytest.mark.parametrize(
    "work",
    [lambda tell: {"length": len(bytearray(2**30))}, spin, fill_the_disk, overflow, crash],
    ids=["memory", "time", "disk", "answer", "crash"],
)
def test_what_takes_too_much_is_ended(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILLED", str(tmp_path / "filled"))
    monkeypatch.chdir(tmp_path)
    before = children_of(os.getpid())
    with pytest.raises(ChildEnded):
        limited(work)
    assert set(children_of(os.getpid())) <= set(before)
    assert not list(tmp_path.glob("core*"))


def test_a_parent_that_gives_up_leaves_no_child() -> None:
    def give_up() -> None:
        raise KeyboardInterrupt

    before, began = children_of(os.getpid()), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_limited(lambda tell: time.sleep(60) or {}, LIMITS, give_up, lambda words: None)
    assert time.monotonic() - began < 10
    assert set(children_of(os.getpid())) <= set(before)
