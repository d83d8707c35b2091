"""The augmentation steps that a request may name, with their parameters.

Names, parameters and defaults are those of Albumentations 2, where that makes sense for images that keep their size and
for masks of classes. A limit that is a single number v there means from -v to v here as well.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import (
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from service.label_schema import IGNORED, LabelSchema, Record

Pair = tuple[StrictFloat, StrictFloat]
Whole = tuple[StrictInt, StrictInt]
Probability = Annotated[StrictFloat, Field(ge=0.0, le=1.0, description="that the step is applied to an image")]


def _complaint(message: str) -> PydanticCustomError:
    return PydanticCustomError("unfit", "{message}", {"message": message})


def _checked(
    message: str, test: Callable[[Any], bool], one: Callable[[Any], object] | None = None, *, of: Any
) -> WrapValidator:
    """Accepts what has the annotated type and passes the test, and says `message` of everything else.

    one: what a single number stands for, where one may be given; of: the type that may be given.
    """

    def check(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        if one is not None and isinstance(value, int | float) and not isinstance(value, bool):
            value = one(value)
        try:
            found = handler(value)
        except ValidationError:
            raise _complaint(message) from None
        if not test(found):
            raise _complaint(message)
        return found

    return WrapValidator(check, json_schema_input_type=of)


def _within(low: float, high: float, one: Callable[[Any], object] | None = None, of: Any = Pair) -> WrapValidator:
    """A pair in order, both from `low` to `high`; what is not a number is not in there either."""
    message = f"give two numbers from {low:g} to {high:g}, the lower one first"
    return _checked(message, lambda pair: low <= pair[0] <= pair[1] <= high, one, of=of)


def _limit(low: float, high: float) -> WrapValidator:
    """A pair as in `_within`; a single number v is the range from -v to v."""
    return _within(low, high, lambda value: (-value, value), float | Pair)


def _is_color(value: int | tuple[int, int, int] | str) -> bool:
    levels = value if isinstance(value, tuple) else (value,)
    return all(isinstance(level, str) or 0 <= level <= 255 for level in levels)


def _are_sides(sides: Whole) -> bool:
    return sides == (0, 0) or (3 <= sides[0] <= sides[1] <= 99 and sides[0] % 2 == sides[1] % 2 == 1)


_COLOR = "give a grey level from 0 to 255, or three for red, green and blue"
_SIDES = "give 0, or two odd numbers from 3 to 99, the lower one first"

_Levels = StrictInt | tuple[StrictInt, StrictInt, StrictInt]
_LevelsOrNoise = _Levels | Literal["random", "random_uniform"]

Color = Annotated[_Levels, _checked(_COLOR, _is_color, of=_Levels)]
ColorOrNoise = Annotated[
    _LevelsOrNoise, _checked(f"{_COLOR}, or `random`, or `random_uniform`", _is_color, of=_LevelsOrNoise)
]
MaskFill = Annotated[
    StrictInt, Field(ge=0, le=255, description="mask value there: a class's index, or 255 for ignored")
]
Share = Annotated[Pair, _within(0.0, 1.0)]
Shift = Annotated[Pair, _limit(-1.0, 1.0)]
Zoom = Annotated[Pair, _limit(-0.9, 4.0)]
Angle = Annotated[Pair, _limit(-180.0, 180.0)]
Squeeze = Annotated[Pair, _limit(-0.9, 0.9)]
LevelShift = Annotated[Pair, _limit(-255.0, 255.0)]
Count = Annotated[Whole, _within(1, 64, lambda most: (1, most), int | Whole)]
Sides = Annotated[Whole, _checked(_SIDES, _are_sides, lambda most: (min(3, most), most), of=int | Whole)]


class BorderMode(StrEnum):
    """What is shown where a step looks outside the image."""

    CONSTANT = "constant"
    REPLICATE = "replicate"
    REFLECT_101 = "reflect_101"


class Bordered(Record):
    """A step that may look outside the image."""

    border_mode: BorderMode = Field(
        default=BorderMode.CONSTANT,
        description="outside the image: `fill`, the nearest pixel, or the image mirrored at the edge pixels' centres",
    )
    fill: Color = Field(default=0, description="with `constant`: the image's colour outside")
    fill_mask: MaskFill = IGNORED


class HorizontalFlip(Record):
    """Flip left to right; keypoints, classes and attributes swap as their `mirror` says."""

    name: Literal["HorizontalFlip"] = "HorizontalFlip"
    p: Probability = 0.5


class RandomSizedCrop(Record):
    """Enlarge a random part to the whole image. The image keeps its size, so there is no `size` to give."""

    name: Literal["RandomSizedCrop"] = "RandomSizedCrop"
    min_max_height: Annotated[Pair, _within(0.1, 1.0)] = Field(
        default=(0.5, 1.0), description="least and largest height of the part, as shares of the image's"
    )
    w2h_ratio: StrictFloat = Field(
        default=1.0, ge=0.1, le=10.0, description="the part's width by its height; it is never wider than the image"
    )
    p: Probability = 1.0


class ShiftScaleRotate(Bordered):
    """Turn and scale about the image's centre, then shift."""

    name: Literal["ShiftScaleRotate"] = "ShiftScaleRotate"
    shift_limit: Shift = Field(default=(-0.0625, 0.0625), description="shares of the image's width and height")
    scale_limit: Zoom = Field(default=(-0.1, 0.1), description="added to 1 for the factor of size")
    rotate_limit: Angle = Field(default=(-45.0, 45.0), description="degrees, counter-clockwise")
    p: Probability = 0.5


class ElasticTransform(Bordered):
    """Move each pixel by smooth random amounts; where they would fold the image, the whole of them is made smaller."""

    name: Literal["ElasticTransform"] = "ElasticTransform"
    alpha: StrictFloat = Field(default=1.0, ge=0.0, le=10_000.0, description="factor of the smoothed noise, in pixels")
    sigma: StrictFloat = Field(default=50.0, ge=1.0, le=500.0, description="of the Gaussian that smooths it, in pixels")
    p: Probability = 0.5


class GridDistortion(Record):
    """Stretch and squeeze the columns and rows of a grid; the image's edges stay where they are."""

    name: Literal["GridDistortion"] = "GridDistortion"
    num_steps: StrictInt = Field(default=5, ge=1, le=64, description="columns, and rows, of the grid")
    distort_limit: Squeeze = Field(default=(-0.3, 0.3), description="added to 1 for the factor of each one's width")
    p: Probability = 0.5


class RGBShift(Record):
    """Add to each colour channel."""

    name: Literal["RGBShift"] = "RGBShift"
    r_shift_limit: LevelShift = Field(default=(-20.0, 20.0), description="levels of 255")
    g_shift_limit: LevelShift = Field(default=(-20.0, 20.0), description="levels of 255")
    b_shift_limit: LevelShift = Field(default=(-20.0, 20.0), description="levels of 255")
    p: Probability = 0.5


class RandomBrightnessContrast(Record):
    """Multiply all colours by a factor, then add to them."""

    name: Literal["RandomBrightnessContrast"] = "RandomBrightnessContrast"
    brightness_limit: Shift = Field(default=(-0.2, 0.2), description="share that is added")
    contrast_limit: Shift = Field(default=(-0.2, 0.2), description="added to 1 for the factor")
    brightness_by_max: StrictBool = Field(default=True, description="shares of 255, or else of the image's mean")
    p: Probability = 0.5


class GaussianBlur(Record):
    """Blur the image."""

    name: Literal["GaussianBlur"] = "GaussianBlur"
    blur_limit: Sides = Field(
        default=(0, 0), description="least and largest side of the kernel in pixels, odd; 0: as sigma needs"
    )
    sigma_limit: Annotated[Pair, _within(0.1, 10.0)] = Field(default=(0.5, 3.0), description="pixels")
    p: Probability = 0.5


class GaussNoise(Record):
    """Add normally distributed noise to each pixel."""

    name: Literal["GaussNoise"] = "GaussNoise"
    std_range: Share = Field(default=(0.2, 0.44), description="standard deviation, as a share of 255")
    mean_range: Annotated[Pair, _within(-1.0, 1.0)] = Field(default=(0.0, 0.0), description="as a share of 255")
    per_channel: StrictBool = Field(default=True, description="noise of its own for each colour channel")
    p: Probability = 0.5


class MaskDropout(Record):
    """Paint over whole regions of the segmentation.

    A region is a connected patch of one class that fills at least a thousandth of the image. Class 0, the first of the
    project, is taken as background and never dropped.
    """

    name: Literal["MaskDropout"] = "MaskDropout"
    max_objects: Count = Field(default=(1, 1), description="least and largest number of regions; n alone: 1 to n")
    fill: Color = Field(default=0, description="colour of the image there")
    fill_mask: MaskFill = IGNORED
    p: Probability = 0.5


class CoarseDropout(Record):
    """Cut rectangular holes (cutout)."""

    name: Literal["CoarseDropout"] = "CoarseDropout"
    num_holes_range: Annotated[Whole, _within(1, 64, of=Whole)] = (1, 2)
    hole_height_range: Share = Field(default=(0.1, 0.2), description="shares of the image's height")
    hole_width_range: Share = Field(default=(0.1, 0.2), description="shares of the image's width")
    fill: ColorOrNoise = Field(default=0, description="colour of the holes; or noise, or one random colour a hole")
    fill_mask: MaskFill | None = Field(
        default=None, description="mask value in the holes; left out: mask and depth stay as they are"
    )
    p: Probability = 0.5


_Step = (
    HorizontalFlip
    | RandomSizedCrop
    | ShiftScaleRotate
    | ElasticTransform
    | GridDistortion
    | RGBShift
    | RandomBrightnessContrast
    | GaussianBlur
    | GaussNoise
    | MaskDropout
    | CoarseDropout
)
_NAMES = [step.__name__ for step in get_args(_Step)]


def _named(value: object) -> object:
    """Says which names there are, unless one of them is given."""
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    if name not in _NAMES:
        raise _complaint(f"give a step with a `name`, one of {', '.join(_NAMES)}")
    return value


AugmentStep = Annotated[_Step, Field(discriminator="name"), BeforeValidator(_named)]


class Misfit(NamedTuple):
    """One thing about the steps that does not fit a project; `field` is its place in the request."""

    field: str
    message: str
    remedy: str


def misfits(steps: Sequence[AugmentStep], schema: LabelSchema) -> list[Misfit]:
    """What the steps ask for that labels of this schema cannot give."""
    found = []
    classes = len(schema.classes)
    for place, step in enumerate(steps):
        if isinstance(step, MaskDropout) and not classes:
            message = "MaskDropout drops regions of a segmentation, and the project has none"
            found.append(Misfit(f"augment.{place}.name", message, "leave it out, or use CoarseDropout"))
        fill = getattr(step, "fill_mask", None)
        if classes and fill is not None and fill != IGNORED and fill >= classes:
            remedy = f"give 0 to {classes - 1}, or 255 for ignored"
            found.append(Misfit(f"augment.{place}.fill_mask", f"the project has no class {fill}", remedy))
    return found
