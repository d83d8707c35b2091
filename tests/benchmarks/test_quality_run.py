"""Runs of the quality benchmark: nothing is done twice, nothing is lost, and one failure takes nothing else with it."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.quality.record import Record
from benchmarks.quality.run import NOT_MADE, run
from benchmarks.quality.steps import Place, digest
from tests.benchmarks.stub_steps import FIRST, SECOND, Stored, Sum, log


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, Path())


def record_of(place: Place) -> Record:
    return Record(place.root / "results.jsonl")


def names(place: Place) -> list[str]:
    return [line[0] for line in log(place)]


def children_of(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in listed.read_text().split()]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_run_goes_on_where_it_was(place: Place) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.stub_steps", str(place.root)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as process:
        deadline = time.monotonic() + 30
        while names(place)[-1:] != ["second"] or record_of(place).facts(SECOND) is None:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        workers = children_of(process.pid)
        process.kill()
    third = Sum("third", (Stored("three", 3),))
    failed = run([FIRST, SECOND, third], place, record_of(place), 1)
    assert failed == {}
    assert names(place) == ["one", "first", "two", "second", "three", "third"]
    assert [record_of(place).facts(step)["total"] for step in (FIRST, SECOND, third)] == [1, 2, 3]  # type: ignore[index]
    deadline = time.monotonic() + 10
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its run"
        time.sleep(0.05)


def test_only_steps_whose_settings_changed_are_done_again(place: Place) -> None:
    run([FIRST, SECOND], place, record_of(place), 1)
    changed = replace(SECOND, parts=(Stored("two", 20),))
    run([FIRST, changed], place, record_of(place), 1)
    assert names(place) == ["one", "first", "two", "second", "two", "second"]
    assert record_of(place).facts(changed)["total"] == 20  # type: ignore[index]
    assert record_of(place).facts(SECOND)["total"] == 2  # type: ignore[index]


def test_a_failure_takes_only_what_needs_it(place: Place) -> None:
    broken, dead = Sum("broken", way="raises"), Sum("dead", way="dies")
    lost = Sum("lost", (Stored("one", 1), broken))
    failed = run([broken, dead, lost, FIRST, SECOND], place, record_of(place), 1)
    assert set(failed) == {broken, dead, lost}
    assert "ValueError: no sum today" in failed[broken]
    assert failed[dead] == "its process ended with exit code 3"
    assert failed[lost] == NOT_MADE
    assert sorted(names(place)) == ["first", "one", "second", "two"]
    assert [record_of(place).facts(step) for step in failed] == [None, None, None]


def test_what_takes_much_room_goes_when_nothing_needs_it(place: Place) -> None:
    shared = Stored("shared", 5)
    stages: list[bool] = []
    trials = [Sum("a", (shared,)), Sum("b", (shared,))]
    run(trials, place, record_of(place), 1, lambda event: stages.append(place.folder(shared).exists()))
    assert stages == [True, True, False]
    run([*trials, Sum("c", (shared,))], place, record_of(place), 1)
    assert names(place) == ["shared", "a", "b", "shared", "c"]
    assert not place.folder(shared).exists()


def test_a_timed_step_has_the_machine_for_itself(place: Place) -> None:
    timed = Sum("timed", seconds=0.3)
    others = [Sum(name, seconds=0.3) for name in ("a", "b", "c", "d")]
    run([*others[:2], timed, *others[2:]], place, record_of(place), 2, alone=timed)
    spans = {name: (float(start), float(end)) for name, _, start, end in log(place)}
    start, end = spans.pop("timed")
    assert all(other_end <= start or other_start >= end for other_start, other_end in spans.values())
    assert min(spans["a"][1], spans["b"][1]) > max(spans["a"][0], spans["b"][0])  # these ran side by side


def test_a_record_ignores_a_line_that_was_cut_short(place: Place) -> None:
    record = record_of(place)
    record.add(FIRST, {"total": 1})
    record.add(SECOND, {"total": 2})
    whole = record.path.read_text()
    record.path.write_text(whole[:-20])
    again = record_of(place)
    assert again.facts(FIRST) == {"total": 1} and again.facts(SECOND) is None
    again.add(SECOND, {"total": 3})
    assert record_of(place).facts(SECOND) == {"total": 3}
    assert json.loads(record.path.read_text().splitlines()[-1])["title"] == "second"


def test_a_digest_is_the_same_in_every_process() -> None:
    program = "from tests.benchmarks.stub_steps import FIRST, digest; print(digest(FIRST))"
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert elsewhere.stdout.strip() == digest(FIRST)
    assert digest(FIRST) != digest(replace(FIRST, parts=(Stored("one", 10),)))
