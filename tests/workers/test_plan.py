"""Shards cover a job's samples once each, in sizes that make sense, and stay as they were planned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.stores import FileStore
from workers.plan import Plan, read_plan, shard_size, write_plan


@given(count=st.integers(1, 20_000), wished=st.none() | st.integers(10, 50_000))
def test_every_index_is_in_one_shard(count: int, wished: int | None) -> None:
    plan = Plan(fit_key="k", count=count, shard_size=shard_size(count, wished))
    end = 0
    for indices in plan.all_indices():
        assert indices.start == end
        assert len(indices) > 0
        end = indices.stop
    assert end == count


@pytest.mark.parametrize(("count", "shards"), [(1, 1), (25, 1), (26, 2), (200, 4), (8_000, 4), (1_000_000, 500)])
def test_small_jobs_have_a_few_shards_and_big_jobs_no_huge_ones(count: int, shards: int) -> None:
    assert Plan(fit_key="k", count=count, shard_size=shard_size(count, None)).shards == shards


def test_a_plan_is_kept(store: FileStore) -> None:
    assert read_plan(store, "job") is None
    plan = Plan(fit_key="abc", count=200, shard_size=50)
    write_plan(store, "job", plan)
    assert read_plan(store, "job") == plan
