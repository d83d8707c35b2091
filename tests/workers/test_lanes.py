"""Lanes change the time that samples take, and nothing in them."""

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, get_ident

import numpy as np
import pytest
import torch

from models.bundle import GeneratorBundle, load_bundle
from models.labeler import Labeler
from models.sampling import Sample, Wish, labeled_samples
from service.records import labeler_key
from service.stores import FileStore
from tests.workers.world import write_generator
from workers import lanes
from workers.lanes import Watch, block_size, in_lanes


@pytest.fixture
def bundle(tmp_path: Path) -> GeneratorBundle:
    write_generator(tmp_path / "tiny")
    return load_bundle(tmp_path / "tiny", torch.device("cpu"))


@pytest.fixture
def labeler(fitted_world: tuple[Path, str], tmp_path: Path) -> Labeler:
    store, key = fitted_world
    weights = tmp_path / "labeler.safetensors"
    weights.write_bytes(FileStore(store).read(labeler_key(key, weights.name)))
    return Labeler.load(weights, torch.device("cpu"))


@pytest.fixture
def two_threads() -> Iterator[None]:
    """This thread's operations use two threads, whatever the process was started with."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_samples_are_the_same_in_lanes(
    bundle: GeneratorBundle, labeler: Labeler, monkeypatch: pytest.MonkeyPatch, two_threads: None
) -> None:
    expected = list(labeled_samples(bundle, labeler, 5, range(30, 130)))
    monkeypatch.setattr(lanes, "_BLOCK_PIXELS", 16 * 16 * 7)
    parts: list[range] = []

    def make(part: range, watch: Watch) -> Iterator[Sample]:
        parts.append(part)
        return labeled_samples(bundle, labeler, 5, part, watch=watch)

    found = list(in_lanes(make, range(30, 130), bundle, lambda: None))
    assert len(parts) == 15
    assert [sample.index for sample in found] == list(range(30, 130))
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.image, other.image)
        assert one.labels.mask is not None
        assert np.array_equal(one.labels.mask, other.labels.mask)
        assert (one.uncertainty, one.attempts) == (other.uncertainty, other.attempts)
    assert torch.get_num_threads() == 2, "the caller's threads are its own"


@pytest.mark.parametrize("cores", [1, 3])
def test_there_are_as_many_lanes_as_cores(bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr(lanes, "usable_cores", lambda: cores)
    together = Barrier(cores, timeout=10)
    threads: set[int] = set()

    def make(part: range, watch: Watch) -> Iterator[Sample]:
        threads.add(get_ident())
        together.wait()
        yield from ()

    assert list(in_lanes(make, range(3 * cores), bundle, lambda: None)) == []
    assert len(threads) == cores


class Enough(Exception):
    """What a user's cancellation raises."""


def test_a_sample_that_takes_for_ever_can_be_stopped(bundle: GeneratorBundle, labeler: Labeler) -> None:
    looks = 0

    def watch() -> None:
        nonlocal looks
        looks += 1
        if looks == 6:
            raise Enough

    def make(part: range, watch: Watch) -> Iterator[Sample]:
        impossible = Wish(coverage=(0, 2.0))
        return labeled_samples(bundle, labeler, 5, part, wish=lambda _: impossible, max_attempts=10**6, watch=watch)

    with pytest.raises(Enough):
        list(in_lanes(make, range(4), bundle, watch))


@pytest.mark.parametrize(
    ("count", "lanes_", "resolution"),
    [(1500, 2, 64), (5000, 2, 64), (5000, 16, 64), (7, 4, 64), (1, 2, 64), (999, 3, 16)],
)
def test_every_lane_makes_its_share_and_no_more(count: int, lanes_: int, resolution: int) -> None:
    block = block_size(count, lanes_, resolution)
    sizes = [len(range(count)[start : start + block]) for start in range(0, count, block)]
    busiest = max(sum(sizes[lane::lanes_]) for lane in range(lanes_))
    assert block * resolution**2 <= 2**21
    assert busiest <= count / lanes_ + -(-len(sizes) // lanes_), "more than its share by an image a turn at most"


def test_nothing_is_made_of_no_indices(bundle: GeneratorBundle) -> None:
    assert list(in_lanes(lambda part, watch: iter(()), range(4, 4), bundle, lambda: None)) == []
