"""Which sample of a job is to show what: the lines of a balance laid over the samples' indices.

Nothing is kept per sample: what index i is asked for follows from i by arithmetic, so that shards stay independent.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import gcd

from service.balance import BalanceItem

_GOLDEN_RATIO = 0.6180339887498949


def item_of_index(items: Sequence[BalanceItem], count: int) -> Callable[[int], BalanceItem | None]:
    """A function from a sample's index, 0 to `count` − 1, to what it is to show, or None.

    Each item falls to exactly as many indices as it asks for, which are at most `count` in all. They are spread over
    the whole run, so that any part of a job has about its share of each.
    """
    ends = list(accumulate(item.samples for item in items))
    total = ends[-1] if ends else 0
    stride = max(1, round(total * _GOLDEN_RATIO))
    while gcd(stride, total) > 1:
        stride += 1

    def item(index: int) -> BalanceItem | None:
        place = index * total // count
        if (index + 1) * total // count == place:
            return None
        return items[bisect_right(ends, place * stride % total)]

    return item
