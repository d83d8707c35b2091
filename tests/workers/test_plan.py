"""Shards cover a job's samples once each, in sizes that make sense, and stay as they were planned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.stores import FileStore
from workers.plan import Plan, read_plan, shard_size, write_plan


@given(
    count=st.integers(1, 200_000),
    wished=st.none() | st.integers(10, 50_000),
    samples_s=st.floats(0.01, 1e4),
    workers=st.integers(0, 64),
)
def test_every_index_is_in_one_shard(count: int, wished: int | None, samples_s: float, workers: int) -> None:
    plan = Plan(fit_key="k", count=count, shard_size=shard_size(count, wished, samples_s, workers))
    starts = range(0, count, plan.shard_size)
    assert plan.shards == len(starts)
    for shard in {0, plan.shards // 2, plan.shards - 1}:
        assert plan.indices(shard) == range(starts[shard], min(starts[shard] + plan.shard_size, count))


@pytest.mark.parametrize(
    ("count", "samples_s", "workers", "shards"),
    [
        (1, 30.0, 1, 1),
        (200, 30.0, 1, 2),  # five seconds of work each, or nearly
        (1_000, 30.0, 1, 4),  # four for one worker
        (1_000, 30.0, 8, 7),  # more workers, more shards, but none shorter than five seconds
        (100_000, 30.0, 1, 28),  # two minutes each
        (1_000_000, 300.0, 8, 32),
        (1_000_000, 300.0, 1, 28),
        (1_000, 0.05, 1, 40),  # a slow generator: the smallest shard there is
    ],
)
def test_shards_are_cut_by_time(count: int, samples_s: float, workers: int, shards: int) -> None:
    size = shard_size(count, None, samples_s, workers)
    assert Plan(fit_key="k", count=count, shard_size=size).shards == shards


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("samples_s", [20.0, 110.0, 300.0, 330.0])
@pytest.mark.parametrize("count", [8_000, 20_000, 123_457])
def test_workers_of_one_speed_end_together(count: int, samples_s: float, workers: int) -> None:
    """However long a shard should take, no worker waits for another for more than a small part of the whole."""
    plan = Plan(fit_key="k", count=count, shard_size=shard_size(count, None, samples_s, workers))
    busy = [0] * workers
    for indices in plan.all_indices():
        busy[busy.index(min(busy))] += len(indices)
    assert max(busy) <= 1.01 * count / workers


def test_a_plan_is_kept(store: FileStore) -> None:
    assert read_plan(store, "job") is None
    plan = Plan(fit_key="abc", count=200, shard_size=50)
    write_plan(store, "job", plan)
    assert read_plan(store, "job") == plan
