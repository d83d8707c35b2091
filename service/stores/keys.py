"""Which strings are keys: the one rule that keeps every store inside its own folder or prefix."""

import re

from service.stores.protocol import InvalidKey

MAX_KEY_LENGTH = 512

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_PREFIX = re.compile(rf"(?:{_PART}/)*(?:{_PART})?")


def check_key(key: str) -> str:
    """`key` itself, if it is one. Raises `InvalidKey`.

    A key is one or more parts joined by `/`; a part is ASCII letters, digits, `.`, `_` and `-`, and starts with neither
    dot nor dash. So `..`, absolute paths, drive letters, backslashes and hidden files are all refused alike.
    """
    if len(key) > MAX_KEY_LENGTH or _KEY.fullmatch(key) is None:
        raise InvalidKey("a key is a relative path of plain ASCII parts")
    return key


def check_prefix(prefix: str) -> str:
    """`prefix` itself, if some key could start with it; the empty prefix matches every key. Raises `InvalidKey`."""
    if len(prefix) > MAX_KEY_LENGTH or _PREFIX.fullmatch(prefix) is None:
        raise InvalidKey("a prefix is the beginning of a key")
    return prefix


def check_folder(prefix: str) -> str:
    """`prefix` itself, if it is a prefix that ends in `/`. Raises `InvalidKey`."""
    if not prefix.endswith("/"):
        raise InvalidKey("the prefix of a folder ends in /")
    return check_prefix(prefix)


def check_range(start: int, end: int | None) -> None:
    """Raises `ValueError` unless `start` and `end` are byte offsets."""
    if start < 0 or (end is not None and end < 0):
        raise ValueError("byte offsets count from the start of the object")
