"""Who uses what is to be removed or replaced, in words."""

from collections.abc import Sequence

_NAMED = 5


def users_in_words(ids: Sequence[str], what: str) -> tuple[str, str]:
    """How many there are of a kind, such as `1 project uses` or `7 projects use`; and their ids, of many the first."""
    count = f"1 {what} uses" if len(ids) == 1 else f"{len(ids)} {what}s use"
    return count, ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
