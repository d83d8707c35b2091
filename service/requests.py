"""What a job is asked to do, one class a kind of job; `task` tells them apart in a job's record.

Numbers and truth values are strict: JSON has its own, and `"3"` or `true` for a count is a mistake of the caller's.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from service.augmentation import AugmentStep
from service.ids import IDENTIFIER
from service.label_schema import Name, Record

Identifier = Annotated[str, StringConstraints(pattern=rf"^{IDENTIFIER.pattern}$")]
"""Ids in URLs and keys: lower-case letters, digits and dashes."""


class DatasetFormat(StrEnum):
    """How a dataset is laid out in its zip."""

    PNG = "png"
    COCO = "coco"
    YOLO = "yolo"
    VOC = "voc"
    HUGGINGFACE = "huggingface"
    WEBDATASET = "webdataset"


class ImageFormat(StrEnum):
    """How the images of a dataset are compressed. PNG loses nothing."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


class Split(Record):
    """Shares of a dataset; they add up to 1. A sample's part depends on its index and these shares alone."""

    train: StrictFloat = Field(default=1.0, ge=0.0, le=1.0)
    val: StrictFloat = Field(default=0.0, ge=0.0, le=1.0)
    test: StrictFloat = Field(default=0.0, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError("train, val and test add up to 1")
        return self


class Coverage(Record):
    """Samples in which a segmentation class fills a least share of the pixels."""

    samples: StrictInt = Field(ge=1)
    min_share: StrictFloat = Field(gt=0.0, lt=1.0, description="of the image's pixels")


_NameOfValue = Annotated[str, StringConstraints(min_length=1, max_length=129, strip_whitespace=True)]
"""Long enough for the names of an attribute and of its value with `=` between."""


class Balance(Record):
    """What the samples of a dataset are to show. Samples beyond those asked for here are drawn freely."""

    model_config = ConfigDict(serialize_by_alias=True)  # a record is read as it was written

    classes: dict[_NameOfValue, Annotated[StrictInt, Field(ge=1)]] = Field(
        default_factory=dict,
        alias="class",
        description="attribute value → samples that show it; `attribute=value` where a value is of several attributes, "
        "or reads like that itself",
    )
    coverage: dict[Name, Coverage] = Field(
        default_factory=dict, description="segmentation class → samples that show it"
    )
    max_attempts: StrictInt = Field(
        default=64, ge=1, le=10_000, description="draws for a sample that is to show something before it is given up on"
    )

    @field_validator("classes", "coverage", mode="before")
    @classmethod
    def _each_name_once(cls, lines: object) -> object:
        if isinstance(lines, dict) and len({str(name).strip() for name in lines}) < len(lines):
            raise ValueError("each name is there once, whatever the spaces around it")
        return lines

    @property
    def samples(self) -> int:
        """How many samples are spoken for."""
        return sum(self.classes.values()) + sum(wish.samples for wish in self.coverage.values())


class Packaging(Record):
    """How a dataset is packed; the samples are the same whatever it says."""

    formats: list[DatasetFormat] = Field(default=[DatasetFormat.PNG], min_length=1)
    split: Split | None = Field(default=None, description="without it, everything is `train`")

    @field_validator("formats")
    @classmethod
    def _each_format_once(cls, formats: list[DatasetFormat]) -> list[DatasetFormat]:
        if len(set(formats)) < len(formats):
            raise ValueError("each format is named once")
        return formats


class GenerateRequest(Packaging):
    """What `POST /generate` asks for."""

    task: Literal["generate"] = "generate"
    project_id: Identifier
    count: StrictInt = Field(ge=1, description="samples to generate, exactly")
    seed: StrictInt = Field(default=0, ge=0, lt=2**63, description="sample i depends on this and i alone")
    truncation: StrictFloat = Field(default=1.0, ge=0.0, le=1.0, description="psi: 1 is the generator's full variety")
    discard_fraction: StrictFloat = Field(
        default=0.1, ge=0.0, le=0.9, description="share of uncertain samples to draw again"
    )
    ignore_fraction: StrictFloat = Field(
        default=0.0, ge=0.0, le=0.5, description="share of a mask's pixels, the most uncertain ones, to mark 255"
    )
    condition: StrictInt | None = Field(
        default=None, ge=0, description="class index for a class-conditional generator; left out: all, in turn"
    )
    image_format: ImageFormat = ImageFormat.PNG
    augment: list[AugmentStep] = Field(default_factory=list, max_length=32, description="applied in this order")
    multiply: StrictInt = Field(default=1, ge=1, le=100, description="augmented versions of each sample")
    balance: Balance | None = None
    include_seeds: StrictBool = Field(
        default=False,
        description="add the project's seeds with the labels they came with, in `train`, marked, beyond `count`, and "
        "neither augmented nor discarded",
    )

    @field_validator("multiply")
    @classmethod
    def _versions_differ(cls, multiply: int, others: ValidationInfo) -> int:
        if multiply > 1 and others.data.get("augment") == []:  # steps that are wrong are told of by themselves
            raise ValueError("it makes augmented versions: name the steps in `augment`")
        return multiply

    @field_validator("balance")
    @classmethod
    def _no_more_than_count(cls, balance: Balance | None, others: ValidationInfo) -> Balance | None:
        if balance is not None and balance.samples > others.data.get("count", balance.samples):
            raise ValueError(f"it speaks for {balance.samples} samples, more than `count`")
        return balance

    @property
    def delivered(self) -> int:
        """Generated images in the dataset."""
        return self.count * self.multiply


class PackageRequest(Packaging):
    """Pack a finished dataset once more, in formats that it does not have yet. Nothing is generated again."""

    task: Literal["package"] = "package"
    job_id: Identifier = Field(description="the job that made the dataset")
    project_id: Identifier


class FitRequest(Record):
    """Fit a project's labeler, as the first job that generates does, and generate nothing."""

    task: Literal["fit"] = "fit"
    project_id: Identifier


class ImportRequest(Record):
    """Make a generator of an uploaded checkpoint."""

    task: Literal["import"] = "import"
    generator_id: Identifier
    name: Name
    sha256: str = Field(description="of the upload, which lies under `uploads/{sha256}`")


class TrainingChoices(Record):
    """How to train a generator; the defaults are those of `labelmint generator train`."""

    kimg: StrictFloat | None = Field(
        default=None,
        gt=0,
        le=100_000,
        allow_inf_nan=False,
        description="thousands of images to show; left out: 300 up to 64 pixels a side, 1000 at 128, 2000 above",
    )
    fit: Literal["crop", "random-crop", "stretch"] = Field(
        default="crop", description="how a picture becomes a square: its centre, up to eight squares of it, or all"
    )
    mirror: StrictBool = Field(
        default=False, description="show mirrored images as well; wrong where left and right differ"
    )
    augment: Literal["ada", "fixed", "none"] = Field(
        default="ada", description="how the discriminator's images are changed: as ADA finds, at a fixed `p`, or not"
    )
    augment_p: StrictFloat | None = Field(
        default=None, ge=0, lt=1, description="probability of each augmentation: kept with fixed, the first with ada"
    )
    patience: StrictInt = Field(
        default=10, ge=0, description="stop after so many evaluations without a better one; 0 never does"
    )
    start: Identifier | None = Field(default=None, description="a generator without classes to begin from")
    seed: StrictInt = Field(default=0, ge=0, lt=2**63)

    @field_validator("augment_p")
    @classmethod
    def _of_augmentation(cls, augment_p: float | None, others: ValidationInfo) -> float | None:
        if augment_p and others.data.get("augment") == "none":
            raise ValueError("with `augment` none nothing has a probability: leave it out")
        return augment_p


class TrainRequest(TrainingChoices):
    """Train a generator on an uploaded zip of unlabeled images."""

    task: Literal["train"] = "train"
    generator_id: Identifier
    name: Name
    sha256: str = Field(description="of the upload, which lies under `uploads/{sha256}`")
    resolution: StrictInt = Field(default=64, description="pixels a side: a power of two from 32 to 1024")


class EncodeRequest(Record):
    """Train the encoder of a generator."""

    task: Literal["encode"] = "encode"
    generator_id: Identifier


JobRequest = GenerateRequest | FitRequest | PackageRequest | ImportRequest | TrainRequest | EncodeRequest
