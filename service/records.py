"""The records the service keeps, as they lie in the store and go over HTTP.

A record is JSON in the object store under the key its class names in `key`; design words only, no behaviour beyond.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
"""Ids in URLs and keys: lower-case letters, digits and dashes."""

Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-f]{6}$", to_lower=True)]


def now() -> datetime:
    """The present, in UTC, to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class Record(BaseModel):
    """Base of all records: unknown fields are refused, so that a typo is an error and not a default."""

    model_config = ConfigDict(extra="forbid")


class LabelKind(StrEnum):
    """What a label says about an image."""

    SEGMENTATION = "segmentation"


class LabelClass(Record):
    """One class of a segmentation; its index is its place in the list."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]
    color: Color


class GeneratorRecord(Record):
    """One generator in the store. Its files lie beside it: weights, encoder and latents, as safetensors."""

    id: Identifier
    name: str
    resolution: int
    w_dim: int
    num_ws: int
    parameters: int
    sha256: str = Field(description="of weights.safetensors")
    source: str = Field(description="where it comes from: `bundled`, `trained`, `nvidia`, `rosinality`")
    has_encoder: bool
    created: datetime = Field(default_factory=now)
    provenance: dict[str, Any] = Field(default_factory=dict)

    @staticmethod
    def key(generator_id: str) -> str:
        return f"generators/{generator_id}/generator.json"


class Fitting(Record):
    """How an uploaded image was brought to the generator's resolution: resize the short side, then crop the centre."""

    original: tuple[int, int] = Field(description="width, height as uploaded")
    resized: tuple[int, int] = Field(description="width, height after the resize")
    crop: tuple[int, int, int, int] = Field(description="left, top, right, bottom in the resized image")


class SeedRecord(Record):
    """One seed: `projects/{id}/seeds/{index}/image.png` and `segmentation.png` beside it, at the generator's size."""

    index: int
    name: str = Field(description="the uploaded NAME, without folder and suffix")
    fitting: Fitting
    class_pixels: dict[str, int] = Field(description="pixels of each class in the fitted mask")
    notes: list[str] = Field(default_factory=list, description="what was changed besides the fitting")


class ProjectRecord(Record):
    """One generator, a label schema and 1 to 50 seeds."""

    id: Identifier
    name: str
    generator: Identifier
    label_kinds: list[LabelKind]
    classes: list[LabelClass]
    seeds: list[SeedRecord]
    created: datetime = Field(default_factory=now)

    @staticmethod
    def key(project_id: str) -> str:
        return f"projects/{project_id}/project.json"

    @staticmethod
    def seed_key(project_id: str, index: int, file: str) -> str:
        return f"projects/{project_id}/seeds/{index}/{file}"


class GenerateRequest(Record):
    """What `POST /generate` asks for."""

    project_id: Identifier
    count: int = Field(ge=1, description="samples to deliver, exactly")
    seed: int = Field(default=0, ge=0, lt=2**63, description="sample i depends on this and i alone")
    truncation: float = Field(default=1.0, ge=0.0, le=1.0, description="psi: 1 is the generator's full variety")
    discard_fraction: float = Field(default=0.1, ge=0.0, le=0.9, description="share of uncertain samples to draw again")
    formats: list[Literal["png"]] = Field(
        default=["png"], min_length=1, description="png: images, masks, metadata.jsonl"
    )


class JobState(StrEnum):
    """queued → running → succeeded | failed | cancelled, with `cancelling` between."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Phase(StrEnum):
    """The steps of a job, in order."""

    INVERT = "invert"
    FIT = "fit"
    GENERATE = "generate"
    PACKAGE = "package"


class Progress(Record):
    """How far the current phase is.

    Units: seeds × steps for invert, steps for fit, samples for generate and package.
    """

    done: int = 0
    total: int = 0
    rate: float | None = Field(default=None, description="units per second over this phase")
    eta_s: float | None = Field(default=None, description="seconds to the end of this phase at that rate")


class JobError(Record):
    """Why a job failed, in words that are safe to show, with what to do about it."""

    code: str = Field(description="stable word, such as `fit-failed`, `worker-lost`, `timeout`")
    message: str
    retry: bool = Field(description="whether the same request may succeed if sent again")


class JobRecord(Record):
    """One accepted request. Written to the store when accepted and at its end; between the two, Redis knows more."""

    id: Identifier
    request: GenerateRequest
    state: JobState = JobState.QUEUED
    phase: Phase | None = None
    progress: Progress = Field(default_factory=Progress)
    fit_key: str | None = None
    shards: int | None = Field(default=None, description="how many shards the job is cut into, once known")
    shard_size: int | None = None
    error: JobError | None = None
    created: datetime = Field(default_factory=now)
    started: datetime | None = None
    finished: datetime | None = None
    outputs: dict[str, str] = Field(default_factory=dict, description="format → key of its zip in the store")
    notes: list[str] = Field(default_factory=list, description="what the user should know about the result")

    @staticmethod
    def key(job_id: str) -> str:
        return f"jobs/{job_id}/job.json"


def labeler_key(fit_key: str, file: str) -> str:
    """`labelers/{fit key}/{file}`: labeler.safetensors, report.json, inversions.safetensors, sheet.png."""
    return f"labelers/{fit_key}/{file}"


def dataset_key(job_id: str, file: str) -> str:
    """`datasets/{job}/{file}`: shard-00000.tar …, manifest.json, card.md, preview.png, {format}.zip."""
    return f"datasets/{job_id}/{file}"


def shard_key(job_id: str, shard: int) -> str:
    """The key of one shard's tar."""
    return dataset_key(job_id, f"shard-{shard:05d}.tar")
