"""A balance falls to exactly as many samples as it asks for, evenly over the job."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from service.balance import BalanceItem
from workers.balance import item_of_index


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
