"""Entity tags of RFC 9110: whether a client holds what it would be sent."""

import re

_OPAQUE = re.compile(r'"[^"]*"')


def is_held(etag: str, if_none_match: str | None) -> bool:
    """Whether the header names `etag`, or any with `*`. Weakly compared: with `W/` before it, it is the same tag."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag.removeprefix("W/") in _OPAQUE.findall(if_none_match)
