"""Left and right are found in names, and in names only that have a partner."""

import pytest

from service.mirrors import mirrors_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("left_eye", "right_eye"),
        ("l_ear", "r_ear"),
        ("ear_left", "ear_right"),
        ("ear-l", "ear-r"),
        ("Left Paw", "Right Paw"),
        ("LEFT.PAW", "RIGHT.PAW"),
        ("left_front_right", "right_front_right"),
    ],
)
def test_sides_are_exchanged(one: str, other: str) -> None:
    assert mirrors_of([one, "nose", other]) == {one: other, other: one}


@pytest.mark.parametrize(
    "names",
    [
        ["left_eye", "nose"],
        ["left", "right"],
        ["lefteye", "righteye"],
        ["cleft_x", "cright_x"],
        ["left_eye", "right-eye"],
        ["left_eye", "Right_eye"],
        ["lEFT_eye", "rIGHT_eye"],
        [],
    ],
)
def test_what_has_no_partner_has_no_mirror(names: list[str]) -> None:
    assert mirrors_of(names) == {}


def test_each_is_the_mirror_of_its_mirror() -> None:
    names = [f"{a}_x_{b}" for a in ("left", "right", "l") for b in ("left", "right", "r")]
    mirrors = mirrors_of(names)
    assert mirrors
    assert all(mirrors[partner] == name for name, partner in mirrors.items())
