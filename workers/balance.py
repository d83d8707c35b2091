"""Which sample of a job is to show what: the lines of a balance laid over the samples' indices.

Nothing is kept per sample: what index i is asked for follows from i by arithmetic, so that shards stay independent.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import gcd

from models.sampling import Wish
from service.balance import BalanceItem, look_up
from service.label_schema import LabelSchema
from service.requests import GenerateRequest

_STEP = 0.41421356237309515
"""√2 − 1: multiples of it fill a ring evenly. Parts of a dataset go by the golden ratio: were it used here as well, a
part would be in step with the lines of a balance, and hold samples of one line only."""


def item_of_index(items: Sequence[BalanceItem], count: int) -> Callable[[int], BalanceItem | None]:
    """A function from a sample's index, 0 to `count` − 1, to what it is to show, or None.

    Each item falls to exactly as many indices as it asks for, which are at most `count` in all. They are spread over
    the whole run, so that any part of a job has about its share of each.
    """
    ends = list(accumulate(item.samples for item in items))
    stride = max(1, round(count * _STEP))
    while gcd(stride, count) > 1:
        stride += 1

    def item(index: int) -> BalanceItem | None:
        line = bisect_right(ends, index * stride % count)
        return items[line] if line < len(items) else None

    return item


def wish_of_index(request: GenerateRequest, schema: LabelSchema) -> Callable[[int], Wish | None] | None:
    """What each sample of a job is wished to show, by its index; None without a balance."""
    items = look_up(request.balance, schema)[0] if request.balance else []
    if not items:
        return None
    item = item_of_index(items, request.count)

    def wish(index: int) -> Wish | None:
        found = item(index)
        return None if found is None else Wish(found.attribute, found.coverage)

    return wish
