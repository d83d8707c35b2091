"""A balance falls to exactly as many samples as it asks for, evenly over the job."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.balance import BalanceItem
from service.requests import Split
from workers.balance import item_of_index
from workers.split import part_of


@given(wanted=st.lists(st.integers(1, 200), max_size=6), spare=st.integers(0, 500))
def test_each_item_falls_to_as_many_samples_as_it_asks_for(wanted: list[int], spare: int) -> None:
    items = [BalanceItem(f"item {place}", samples) for place, samples in enumerate(wanted)]
    count = max(1, sum(wanted) + spare)
    found = Counter(item_of_index(items, count)(index) for index in range(count))
    assert {item: found[item] for item in items} == {item: item.samples for item in items}
    assert found[None] == count - sum(wanted)


def test_every_part_of_a_job_has_its_share() -> None:
    items = [BalanceItem("rare", 1_000), BalanceItem("common", 3_000)]
    item = item_of_index(items, 10_000)
    for start in range(0, 10_000, 500):
        part = Counter(item(index) for index in range(start, start + 500))
        assert abs(part[items[0]] - 50) <= 3
        assert abs(part[items[1]] - 150) <= 3


@pytest.mark.parametrize("count", [400, 500, 610, 987, 1_000, 1_597, 2_584, 4_000])
@pytest.mark.parametrize("free", [0.0, 0.2, 0.4])
def test_each_part_of_a_split_has_its_share_of_each_item(count: int, free: float) -> None:
    """With a balance for every sample, and with some that are drawn freely."""
    half = round(count * (1 - free) / 2)
    items = [BalanceItem("panda", half), BalanceItem("koala", half)]
    item, split = item_of_index(items, count), Split(train=0.8, val=0.1, test=0.1)
    found = Counter((part_of(index, split), item(index)) for index in range(count))
    for part in ("train", "val", "test"):
        samples = sum(found[part, line] for line in (*items, None))
        for line in items:
            share = found[part, line] / samples
            assert abs(share - half / count) < 0.125, (part, line.name)
