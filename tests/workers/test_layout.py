import pytest

from models.labels import LabelMirror
from service.label_schema import Attribute, Keypoint, KeypointSchema, LabelClass, LabelSchema
from workers.layout import has_silent_sides, mirror_of


def schema(
    classes: dict[str, str | None], points: dict[str, str | None], values: list[str], pairs: list[tuple[str, str]]
) -> LabelSchema:
    return LabelSchema(
        classes=[LabelClass(name=name, color="#102030", mirror=mirror) for name, mirror in classes.items()],
        keypoints=KeypointSchema(points=[Keypoint(name=name, mirror=mirror) for name, mirror in points.items()]),
        attributes=[Attribute(name="side", values=values, mirror=pairs)],
    )


def test_the_mirror_of_a_schema_holds_indices() -> None:
    made = schema(
        {"floor": None, "left_arm": "right_arm", "right_arm": None},
        {"nose": None, "left_eye": "right_eye", "right_eye": "left_eye"},
        ["front", "left", "right"],
        [("right", "left")],
    )
    assert mirror_of(made) == LabelMirror((0, 2, 1), (0, 2, 1), ((0, 2, 1),))


@pytest.mark.parametrize(
    ("classes", "points", "pairs", "silent"),
    [
        ({"floor": None, "arm": None}, {"nose": None}, [("left", "right")], False),
        ({"left_arm": None, "right_arm": None}, {"nose": None}, [("left", "right")], True),
        ({"left_arm": "right_arm", "right_arm": "left_arm"}, {"nose": None}, [("left", "right")], False),
        ({"floor": None, "arm": None}, {"left_eye": None, "right_eye": None}, [("left", "right")], True),
        ({"floor": None, "arm": None}, {"left_eye": None, "nose": None}, [("left", "right")], True),
        ({"floor": None, "arm": None}, {"nose": None}, [], True),
        ({"floor": None, "arm": None}, {"p0": None, "p1": None}, [("left", "right")], True),
        ({"floor": None, "arm": None}, {"p0": "p1", "p1": "p0", "nose": None}, [("left", "right")], False),
    ],
)
def test_sides_that_nobody_paired_are_noticed(
    classes: dict[str, str | None], points: dict[str, str | None], pairs: list[tuple[str, str]], silent: bool
) -> None:
    assert has_silent_sides(schema(classes, points, ["front", "left", "right"], pairs)) == silent


@pytest.mark.parametrize(
    "name",
    ["left", "upper_left_arm", "leg_left_front", "lefteye", "leftEye", "eyeL", "lEye", "l_eye", "eye.R", "eye r"],
)
def test_a_side_is_heard_however_it_is_written(name: str) -> None:
    assert has_silent_sides(schema({"floor": None, name: None}, {"nose": None}, ["koala", "panda"], []))


@pytest.mark.parametrize("name", ["floor", "car", "lamp", "roller", "barrel", "body", "class 1", "koala"])
def test_other_names_are_left_alone(name: str) -> None:
    assert not has_silent_sides(schema({"wall": None, name: None}, {"nose": None}, ["koala", "panda"], []))


def test_attribute_values_that_name_sides_count_as_well() -> None:
    made = schema({"floor": None, "arm": None}, {"nose": None}, ["seen left", "seen right"], [])
    assert has_silent_sides(made)
    paired = schema(
        {"floor": None, "arm": None}, {"nose": None}, ["seen left", "seen right"], [("seen left", "seen right")]
    )
    assert not has_silent_sides(paired)
