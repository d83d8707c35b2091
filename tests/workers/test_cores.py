"""How many cores a worker thinks it has: those it is bound to, and not more than its container may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers import cores
from workers.cores import usable_cores

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")


@pytest.fixture
def one_core() -> Iterator[None]:
    """This thread bound to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a container is told its limit; not there yet."""
    path = tmp_path / "cpu.max"
    monkeypatch.setattr(cores, "CONTAINER_LIMIT", path)
    return path


def test_a_process_bound_to_one_core_has_one(one_core: None, limit: Path) -> None:
    assert usable_cores() == 1


@pytest.mark.parametrize(("told", "usable"), [("max 100000", 8), ("250000 100000", 3), ("50000 100000", 1)])
def test_a_container_may_have_less(limit: Path, monkeypatch: pytest.MonkeyPatch, told: str, usable: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert usable_cores() == 8
    limit.write_text(f"{told}\n")
    assert usable_cores() == usable
