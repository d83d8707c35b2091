"""JSON that strangers send: UTF-8, every number finite, every field once."""

import json
from collections import Counter
from typing import Any, NoReturn

_REMEDY = "write one JSON object in UTF-8"


class JsonRefused(Exception):
    """The bytes are no JSON that can be relied on. `args` are what is wrong and what to do about it."""


def load_json(data: bytes) -> Any:
    """What `data` says. Raises `JsonRefused`, also for NaN, infinity, a field named twice, and deep nesting."""
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_not_finite, object_pairs_hook=_once)
    except RecursionError:
        raise JsonRefused("it is nested too deep", "send a plain file") from None
    except ValueError:
        raise JsonRefused("it is not JSON", _REMEDY) from None


def _not_finite(word: str) -> NoReturn:
    raise JsonRefused(f"{word} is not a number that JSON has", "write finite numbers only")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise JsonRefused(f"the field {ascii(twice)[:64]} is there twice in one object", "keep one of the two")
    return fields
