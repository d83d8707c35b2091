"""The fit key changes with everything that decides a labeler, and with nothing else."""

from typing import Any

import pytest

from service.label_schema import (
    Attribute,
    DepthSchema,
    Keypoint,
    KeypointSchema,
    LabelClass,
    LabelSchema,
)
from service.records import ProjectRecord
from workers.fit_key import fit_key

CLASSES = [LabelClass(name="floor", color="#101010"), LabelClass(name="bear", color="#8b5a2b")]
POINTS = [Keypoint(name="left_ear", mirror="right_ear"), Keypoint(name="right_ear", mirror="left_ear")]
SCHEMA = LabelSchema(
    classes=CLASSES,
    keypoints=KeypointSchema(points=POINTS),
    depth=DepthSchema(scale=0.001, minimum=1, maximum=2),
    attributes=[Attribute(name="species", values=["panda", "koala"])],
)
INPUTS: dict[str, Any] = {
    "generator": {"weights.safetensors": "aa", "encoder.safetensors": "bb"},
    "seeds": [(b"image 0", b"mask 0", b"depth 0"), (b"image 1", b"mask 1", b"depth 1")],
    "forced": [False, False],
    "schema": SCHEMA,
    "settings": {"steps": 300, "lpips": "alex"},
}


def schema(**changes: Any) -> LabelSchema:
    return SCHEMA.model_copy(update=changes)


def test_it_is_the_same_for_the_same_inputs_in_any_order_of_names() -> None:
    turned = {"generator": dict(reversed(INPUTS["generator"].items())), "settings": dict(INPUTS["settings"])}
    assert fit_key(**INPUTS) == fit_key(**(INPUTS | turned))


def test_of_a_project_its_labels_count_alone() -> None:
    facts = {"id": "p", "name": "Bears", "generator": "toy", "seeds": []}
    project = ProjectRecord(**facts, **{name: getattr(SCHEMA, name) for name in LabelSchema.model_fields})
    assert fit_key(**(INPUTS | {"schema": project})) == fit_key(**INPUTS)


@pytest.mark.parametrize(
    "change",
    [
        {"generator": {**INPUTS["generator"], "encoder.safetensors": "cc"}},
        {"seeds": INPUTS["seeds"][::-1]},
        {"seeds": [INPUTS["seeds"][0], (b"image 1", b"another mask", b"depth 1")]},
        {"seeds": [INPUTS["seeds"][0], (b"image 1", b"mask 1", b"another depth")]},
        {"seeds": INPUTS["seeds"][:1]},
        {"forced": [True, False]},
        {"schema": schema(classes=[CLASSES[0], LabelClass(name="bear", color="#ffffff")])},
        {"schema": schema(classes=[])},
        {"schema": schema(keypoints=None)},
        {"schema": schema(keypoints=KeypointSchema(points=POINTS[::-1]))},
        {"schema": schema(keypoints=KeypointSchema(points=POINTS, skeleton=[("left_ear", "right_ear")]))},
        {"schema": schema(depth=DepthSchema(scale=0.002, minimum=1, maximum=2))},
        {"schema": schema(depth=DepthSchema(scale=0.001, minimum=1, maximum=2, unit="m"))},
        {"schema": schema(attributes=[Attribute(name="species", values=["koala", "panda"])])},
        {"settings": {**INPUTS["settings"], "steps": 301}},
    ],
)
def test_it_changes_with_each_of_them(change: dict[str, Any]) -> None:
    assert fit_key(**(INPUTS | change)) != fit_key(**INPUTS)
