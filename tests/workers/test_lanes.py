"""Lanes change the time that samples take, and nothing in them; and no lane outlives those it works for."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.bundle import load_bundle
from models.labeler import Labeler
from models.sampling import labeled_samples
from service.records import labeler_key
from service.requests import GenerateRequest
from service.stores import FileStore
from tests.workers.conftest import NewJob
from tests.workers.processes import children_of, kill, running, wait_for
from tests.workers.world import PROJECT, write_generator
from workers import lanes as module
from workers.draws import Draws
from workers.lanes import Lanes, Tell, lane_count, part_size
from workers.lifeline import is_running
from workers.packing import Packer
from workers.public_errors import JobFailure
from workers.sample_source import SampleSource
from workers.stages import StageClock
from workers.tars import blocks_of


def squares(numbers: Iterator[int], tell: Tell) -> Iterator[tuple[int, int]]:
    """Squares with the process that worked them out, some later than those that follow."""
    for number in numbers:
        time.sleep(0.05 if number % 100 == 0 else 0)
        if number % 25 == 0:
            tell(number)
        yield number * number, os.getpid()


def no_news(value: object) -> None:
    """Nobody listens."""


def nothing_to_see() -> None:
    """Nobody watches."""


@pytest.fixture
def source(fitted_world: tuple[Path, str], new_job: NewJob, tmp_path: Path) -> SampleSource:
    """Of a request with wishes, some of which cannot be met."""
    store, key = fitted_world
    write_generator(tmp_path / "tiny")
    weights = tmp_path / "labeler.safetensors"
    weights.write_bytes(FileStore(store).read(labeler_key(key, weights.name)))
    cpu = torch.device("cpu")
    balance = {"coverage": {"light": {"samples": 5, "min_share": 0.99}}, "max_attempts": 5}
    wanted = {"project_id": PROJECT, "count": 100, "seed": 5, "discard_fraction": 0.3, "balance": balance}
    request = GenerateRequest.model_validate(wanted)
    packer = Packer(request, new_job("job", 1, 1).project)
    return SampleSource(load_bundle(tmp_path / "tiny", cpu), Labeler.load(weights, cpu), request, packer)


def test_samples_are_the_same_in_lanes(source: SampleSource, monkeypatch: pytest.MonkeyPatch) -> None:
    packer, indices = source.packer, range(30, 90)
    samples = labeled_samples(
        source.bundle, source.labeler, 5, indices, 1.0, 0.3, wish=packer.wish, max_attempts=5, report=no_draws
    )
    expected = [packer(sample) for sample in samples]
    monkeypatch.setattr(module, "_PART_PIXELS", 16 * 16 * 7)
    clock, draws = StageClock({"generate": 3, "encode": 3}), Draws()
    with Lanes(source.packed, 3) as lanes:
        found = list(source.in_lanes(lanes, indices, clock, draws, nothing_to_see))
    assert found == [b"".join(map(blocks_of, versions)) for versions in expected]
    assert draws.settled == len(indices)
    assert draws.judged == sum(version.facts.attempts for [version] in expected)
    assert min(clock.shares().values()) > 0


def no_draws(judged: int, settled: int) -> None:
    """Nobody counts."""


def test_parts_go_to_several_processes_and_come_in_order() -> None:
    heard: list[int] = []
    with Lanes(squares, 3) as lanes:
        found = list(lanes.results(range(7, 511), 10, heard.append, nothing_to_see))
        again = list(lanes.results(range(100), 50, no_news, nothing_to_see))
    assert [square for square, _ in found] == [number * number for number in range(7, 511)]
    assert [square for square, _ in again] == [number * number for number in range(100)]
    assert sorted(heard) == list(range(25, 511, 25))
    pids = {pid for _, pid in found}
    assert len(pids - {os.getpid()}) == 3
    assert not any(map(is_running, pids))


def test_a_lane_computes_with_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with Lanes(threads, 1) as lanes:
            assert list(lanes.results(range(1), 1, no_news, nothing_to_see)) == [1]
        assert torch.get_num_threads() == 3, "the caller's threads are its own"
    finally:
        torch.set_num_threads(before)


def threads(numbers: Iterator[int], tell: Tell) -> Iterator[int]:
    for _ in numbers:
        yield torch.get_num_threads()


def test_nobody_runs_far_ahead_of_the_slowest(tmp_path: Path) -> None:
    gate, made = tmp_path / "gate", tmp_path / "made"
    made.touch()

    def wait_at_the_gate(numbers: Iterator[int], tell: Tell) -> Iterator[int]:
        for number in numbers:
            with made.open("a") as file:
                file.write(f"{number}\n")
            while number == 0 and not gate.exists():
                time.sleep(0.01)
            yield number

    looks = 0

    def watch() -> None:
        nonlocal looks
        looks += 1
        if not gate.exists() and len(made.read_text().split()) >= 2 * 8 * 10 - 20 and looks > 50:
            assert max(map(int, made.read_text().split())) == 2 * 8 * 10 - 1, "neither more nor much less"
            gate.touch()

    with Lanes(wait_at_the_gate, 2) as lanes:
        assert list(lanes.results(range(1000), 10, no_news, watch)) == list(range(1000))
    assert sorted(map(int, made.read_text().split())) == list(range(1000))


def test_a_lane_completes_what_it_has_while_it_gets_no_more() -> None:
    """What it keeps back until the end of its indices may be what everybody waits for."""

    def keep_back(numbers: Iterator[int], tell: Tell) -> Iterator[int]:
        yield from list(numbers)

    with Lanes(keep_back, 2) as lanes:
        assert list(lanes.results(range(1000), 10, no_news, nothing_to_see)) == list(range(1000))


class Enough(Exception):
    """What a user's cancellation raises."""


def test_a_part_that_takes_for_ever_can_be_stopped() -> None:
    looks = 0

    def watch() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise Enough

    def forever(numbers: Iterator[int], tell: Tell) -> Iterator[int]:
        while next(numbers) >= 0:
            time.sleep(60)
        yield 0

    before = set(children_of(os.getpid()))
    with pytest.raises(Enough), Lanes(forever, 2) as lanes:
        assert len(set(children_of(os.getpid())) - before) == 2
        list(lanes.results(range(500), 50, no_news, watch))
    assert set(children_of(os.getpid())) <= before


class Unsendable(Exception):
    """Cannot be pickled: what is sent would lack an argument."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (MemoryError("of a lane"), MemoryError),
        (JobFailure("some-code", "Do this.", retry=True), JobFailure),
        (EOFError("of a file"), EOFError),
        (Unsendable(1, 2), RuntimeError),
    ],
)
def test_what_raises_in_a_lane_raises_here(error: Exception, raised: type[Exception]) -> None:
    def fail(numbers: Iterator[int], tell: Tell) -> Iterator[int]:
        for number in numbers:
            if number == 120:
                raise error
            yield number

    before = set(children_of(os.getpid()))
    with pytest.raises(raised) as found, Lanes(fail, 2) as lanes:
        list(lanes.results(range(500), 50, no_news, nothing_to_see))
    assert type(found.value) is raised
    assert "raise error" in str(found.value) + "".join(found.value.__notes__ if raised is not RuntimeError else [])
    if isinstance(error, JobFailure):
        assert isinstance(found.value, JobFailure)
        assert found.value.error == error.error
    assert set(children_of(os.getpid())) <= before


@pytest.mark.parametrize("idle", [False, True])
def test_a_killed_lane_fails_the_job_which_may_be_retried(idle: bool) -> None:
    def kill_oneself(numbers: Iterator[int], tell: Tell) -> Iterator[int]:
        for number in numbers:
            if number == 120 and not idle:
                os.kill(os.getpid(), signal.SIGKILL)
            yield number

    before = set(children_of(os.getpid()))
    with pytest.raises(JobFailure) as failure, Lanes(kill_oneself, 2) as lanes:
        if idle:
            kill(min(set(children_of(os.getpid())) - before))
        list(lanes.results(range(500), 50, no_news, nothing_to_see))
    assert (failure.value.error.code, failure.value.error.retry) == ("worker-lost", True)
    assert set(children_of(os.getpid())) <= before


PARENT = """
import time
from workers.lanes import Lanes

def forever(numbers, tell):
    tell(next(numbers))
    time.sleep(600)
    yield 0

with Lanes(forever, 2) as lanes:
    list(lanes.results(range(2), 1, lambda told: print("at work", flush=True), lambda: None))
"""


def test_lanes_die_with_a_killed_parent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(["-c", PARENT], log) as parent:
        wait_for(lambda: log.read_text() == "at work\nat work\n", 60, "the lanes are at work")
        children = children_of(parent.pid)
        assert len(children) == 2
        kill(parent.pid)
        parent.wait()
        wait_for(lambda: not any(map(is_running, children)), 10, "the lanes have died")


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (3, 3), (64, 16)])
def test_there_are_as_many_lanes_as_cores(monkeypatch: pytest.MonkeyPatch, cores: int, expected: int) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: cores)
    assert lane_count() == expected


@pytest.mark.parametrize(("resolution", "size"), [(16, 512), (64, 32), (128, 8), (1024, 1)])
def test_parts_are_smaller_the_larger_the_images(resolution: int, size: int) -> None:
    assert part_size(resolution) == size


def test_nothing_is_made_of_no_indices() -> None:
    with Lanes(squares, 1) as lanes:
        assert list(lanes.results(range(4, 4), 1, no_news, nothing_to_see)) == []
