"""Asking for augmentation, well and badly."""

from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter, ValidationError

from service.augmentation import AugmentStep, misfits
from service.label_schema import LabelSchema
from service.requests import GenerateRequest

STEPS = TypeAdapter(list[AugmentStep])
NAMES = [
    "HorizontalFlip",
    "RandomSizedCrop",
    "ShiftScaleRotate",
    "ElasticTransform",
    "GridDistortion",
    "RGBShift",
    "RandomBrightnessContrast",
    "GaussianBlur",
    "GaussNoise",
    "MaskDropout",
    "CoarseDropout",
]


def step(**fields: Any) -> Any:
    return STEPS.validate_python([fields])[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_enough_and_comes_back_from_a_record_as_it_was(name: str) -> None:
    request = GenerateRequest.model_validate({"project_id": "p", "count": 1, "augment": [{"name": name}]})
    assert request.augment[0].name == name
    assert request.augment[0].p == (1.0 if name == "RandomSizedCrop" else 0.5)
    again = GenerateRequest.model_validate_json(request.model_dump_json(by_alias=True))
    assert again == request and type(again.augment[0]) is type(request.augment[0])


def test_single_numbers_are_limits_both_ways() -> None:
    turn = step(name="ShiftScaleRotate", shift_limit=0.1, scale_limit=0, rotate_limit=15)
    assert (turn.shift_limit, turn.scale_limit, turn.rotate_limit) == ((-0.1, 0.1), (0, 0), (-15, 15))
    assert step(name="GridDistortion", distort_limit=0.2).distort_limit == (-0.2, 0.2)
    assert step(name="RGBShift", g_shift_limit=9).g_shift_limit == (-9, 9)
    assert step(name="MaskDropout", max_objects=3).max_objects == (1, 3)
    assert step(name="GaussianBlur", blur_limit=7).blur_limit == (3, 7)
    assert step(name="GaussianBlur", blur_limit=0).blur_limit == (0, 0)
    assert step(name="CoarseDropout", fill=[1, 2, 3]).fill == (1, 2, 3)


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"name": "HorizontalFlip", "p": 1.5}, "HorizontalFlip.p", "less than or equal to 1"),
    ({"name": "HorizontalFlip", "p": float("nan")}, "HorizontalFlip.p", "less than or equal to 1"),
    ({"name": "HorizontalFlip", "p": True}, "HorizontalFlip.p", "valid number"),
    ({"name": "GridDistortion", "num_steps": "5"}, "GridDistortion.num_steps", "valid integer"),
    ({"name": "GaussNoise", "per_channel": 1}, "GaussNoise.per_channel", "valid boolean"),
    ({"name": "CoarseDropout", "num_holes_range": [True, 2]}, "CoarseDropout.num_holes_range", "from 1 to 64"),
    ({"name": "CoarseDropout", "fill": "9"}, "CoarseDropout.fill", "grey level"),
    ({"name": "RandomSizedCrop", "size": [64, 64]}, "RandomSizedCrop.size", ""),
    ({"name": "RandomSizedCrop", "min_max_height": [32, 64]}, "RandomSizedCrop.min_max_height", "from 0.1 to 1"),
    ({"name": "RandomSizedCrop", "w2h_ratio": 0}, "RandomSizedCrop.w2h_ratio", "0.1"),
    ({"name": "ShiftScaleRotate", "rotate_limit": [30, 10]}, "ShiftScaleRotate.rotate_limit", "the lower one first"),
    ({"name": "ShiftScaleRotate", "scale_limit": 1.0}, "ShiftScaleRotate.scale_limit", "from -0.9 to 4"),
    ({"name": "ShiftScaleRotate", "shift_limit": "far"}, "ShiftScaleRotate.shift_limit", "two numbers from -1 to 1"),
    ({"name": "ShiftScaleRotate", "border_mode": "wrap"}, "ShiftScaleRotate.border_mode", "'reflect_101'"),
    ({"name": "ShiftScaleRotate", "fill": [1, 2]}, "ShiftScaleRotate.fill", "three for red, green and blue"),
    ({"name": "ShiftScaleRotate", "fill_mask": 256}, "ShiftScaleRotate.fill_mask", "255"),
    ({"name": "ElasticTransform", "sigma": 0}, "ElasticTransform.sigma", "greater than or equal to 1"),
    ({"name": "ElasticTransform", "alpha": 1e9}, "ElasticTransform.alpha", "10000"),
    ({"name": "GridDistortion", "distort_limit": 1}, "GridDistortion.distort_limit", "from -0.9 to 0.9"),
    ({"name": "GridDistortion", "num_steps": 0}, "GridDistortion.num_steps", "1"),
    ({"name": "RGBShift", "r_shift_limit": float("nan")}, "RGBShift.r_shift_limit", "from -255 to 255"),
    ({"name": "RGBShift", "r_shift_limit": True}, "RGBShift.r_shift_limit", "from -255 to 255"),
    ({"name": "GaussianBlur", "blur_limit": 4}, "GaussianBlur.blur_limit", "odd"),
    ({"name": "GaussianBlur", "blur_limit": [3, 301]}, "GaussianBlur.blur_limit", "3 to 99"),
    ({"name": "GaussianBlur", "sigma_limit": [0, 3]}, "GaussianBlur.sigma_limit", "0.1 to 10"),
    ({"name": "GaussNoise", "std_range": [0.2, 20]}, "GaussNoise.std_range", "from 0 to 1"),
    ({"name": "MaskDropout", "max_objects": 0}, "MaskDropout.max_objects", "from 1 to 64"),
    ({"name": "MaskDropout", "fill": "red"}, "MaskDropout.fill", "grey level"),
    ({"name": "CoarseDropout", "fill": "noise"}, "CoarseDropout.fill", "`random_uniform`"),
    ({"name": "CoarseDropout", "num_holes_range": [1, 10_000]}, "CoarseDropout.num_holes_range", "from 1 to 64"),
    ({"name": "CoarseDropout", "hole_width_range": [8, 16]}, "CoarseDropout.hole_width_range", "from 0 to 1"),
    ({"name": "VerticalFlip"}, "", "one of HorizontalFlip, RandomSizedCrop"),
    ({"p": 0.5}, "", "give a step with a `name`"),
    ({"name": ["HorizontalFlip"]}, "", "give a step with a `name`"),
]


@pytest.mark.parametrize(("bad", "field", "words"), BAD)
def test_a_bad_value_is_one_complaint_that_names_its_field(bad: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        STEPS.validate_python([{"name": "RGBShift"}, bad])
    (error,) = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == f"1.{field}".rstrip(".")
    assert words in error["msg"]


@pytest.mark.parametrize(
    ("bad", "field", "words"),
    [
        ({"name": "RotateABit"}, "augment.0", "one of HorizontalFlip"),
        ({"name": "RGBShift", "r_shift_limit": 300}, "augment.0.RGBShift.r_shift_limit", "from -255 to 255"),
        ({"name": "RGBShift", "limit": 3}, "augment.0.RGBShift.limit", "unknown field"),
    ],
)
def test_the_api_says_so(api: httpx.Client, bad: dict[str, Any], field: str, words: str) -> None:
    answer = api.post("/generate", json={"project_id": "p", "count": 1, "augment": [bad]})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field and words in error["message"] and "Value error" not in error["message"]


def test_steps_are_held_against_the_project() -> None:
    masks = LabelSchema.model_validate({"classes": [{"name": name, "color": "#000000"} for name in "ab"]})
    species = LabelSchema.model_validate({"attributes": [{"name": "species", "values": ["panda", "koala"]}]})
    wanted = STEPS.validate_python(
        [
            {"name": "MaskDropout", "fill_mask": 1},
            {"name": "ShiftScaleRotate", "fill_mask": 2},
            {"name": "CoarseDropout"},
            {"name": "ElasticTransform"},
        ]
    )
    (fault,) = misfits(wanted, masks)
    assert fault.field == "augment.1.fill_mask" and "no class 2" in fault.message and "0 to 1, or 255" in fault.remedy
    (fault,) = misfits(wanted, species)
    assert fault.field == "augment.0.name" and "segmentation" in fault.message
