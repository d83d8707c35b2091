"""Byte ranges of RFC 9110: one range of a download."""

import re

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class RangeNotSatisfiable(ValueError):
    """The range lies past the end of the object."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """`header` as byte offsets (start inclusive, end exclusive) into an object of `size` bytes.

    None for no range, and for headers that a server may ignore: other units, several ranges, malformed ones.
    Raises `RangeNotSatisfiable`.
    """
    match = _RANGE.fullmatch(header.strip()) if header is not None else None
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeNotSatisfiable(header)
    return start, end
