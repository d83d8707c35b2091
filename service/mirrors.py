"""Left and right in names: which names speak of a side, and which trade places when an image is flipped."""

import re
from collections.abc import Mapping, Sequence

_BEFORE = re.compile(r"(left|right|l|r)([_\- .])(.+)", re.IGNORECASE)
_AFTER = re.compile(r"(.+)([_\- .])(left|right|l|r)", re.IGNORECASE)
_SIDED = re.compile(
    r"(?i:left|right)"  # whatever stands around it: upper_left_arm, lefteye
    r"|(?<![A-Za-z])[lrLR](?![A-Za-z])"  # l_eye, eye.R, eye_l2
    r"|(?<=[a-z])[LR](?![a-z])"  # eyeL
    r"|^[lr](?=[A-Z])"  # lEye
)
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


def speaks_of_a_side(name: str) -> bool:
    """Whether a name may mean the left or the right one of two; rather too often than too seldom."""
    return _SIDED.search(name) is not None


def points_are_silent(mirrors: Mapping[str, str | None]) -> bool:
    """Whether nobody knows which keypoints trade places when an image is flipped. `mirrors`: name → mirror.

    A name speaks of a side, and has no mirror; or there are several, and none has one. Points are often numbered, and a
    wrong guess would put every one of them on both sides.
    """
    if len(mirrors) > 1 and not any(mirrors.values()):
        return True
    return any(mirror is None and speaks_of_a_side(name) for name, mirror in mirrors.items())


def mirrors_of(names: Sequence[str]) -> dict[str, str]:
    """Name → the one it becomes when left and right are exchanged, for every two of `names` that are such a pair.

    A side stands before or after the rest: `left_eye` and `right_eye`, `l-eye` and `r-eye`, `Eye Left` and `Eye Right`.
    """
    there = set(names)
    first = {name: partner for name in names for partner in _partners(name)[::-1] if partner in there}
    return {name: partner for name, partner in first.items() if first.get(partner) == name}


def _partners(name: str) -> list[str]:
    found = []
    if match := _BEFORE.fullmatch(name):
        found.append(f"{_opposite(match[1])}{match[2]}{match[3]}")
    if match := _AFTER.fullmatch(name):
        found.append(f"{match[1]}{match[2]}{_opposite(match[3])}")
    return found


def _opposite(side: str) -> str:
    other = _OTHER[side.lower()]
    if side.islower():
        return other
    return other.upper() if side.isupper() else other.capitalize()
