"""The records the service keeps, as they lie in the store and go over HTTP.

A record is JSON in the object store under the key its class names in `key`; design words only, no behaviour beyond.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, model_validator

from service.label_schema import LabelSchema, Printed, Record
from service.requests import GenerateRequest, Identifier, JobRequest, PackageRequest


def now() -> datetime:
    """The present, in UTC, to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def event_id(moment: datetime) -> int:
    """The id of an event of that moment, microseconds since 1970, unless others came then."""
    return round(moment.timestamp() * 1_000_000)


class GeneratorRecord(Record):
    """One generator in the store. Its files lie beside it: weights, encoder and latents, as safetensors."""

    id: Identifier
    name: str
    resolution: int
    w_dim: int
    num_ws: int
    parameters: int
    sha256: str = Field(description="of weights.safetensors")
    upload_sha256: str | None = Field(default=None, description="of the file it was made from, if it was uploaded")
    source: str = Field(description="where it comes from: `bundled`, `trained`, `nvidia`, `rosinality`, `labelmint`")
    has_encoder: bool
    conditions: int = Field(default=0, description="classes of a class-conditional generator, else 0")
    architecture: dict[str, Any] = Field(default_factory=dict, description="what fixes the shapes of the network")
    latents: dict[str, float] = Field(default_factory=dict, description="statistics of w over random samples")
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
    """One seed: `projects/{id}/seeds/{index}/image.png` at the generator's size, and beside it, as the project's label
    kinds ask for, `segmentation.png`, `depth.png` (16 bits) and `labels.json` (keypoints and attributes)."""

    index: int
    name: str = Field(description="the uploaded NAME, without folder and suffix")
    fitting: Fitting
    class_pixels: dict[str, int] = Field(default_factory=dict, description="pixels of each class in the fitted mask")
    visible_points: int | None = Field(default=None, description="keypoints with visibility 2 in the fitted image")
    known_depth: float | None = Field(default=None, description="share of the fitted pixels whose depth is known")
    attributes: dict[str, str] = Field(default_factory=dict, description="attribute → value")
    forced: bool = Field(default=False, description="enters the fit however badly it inverts")
    notes: list[str] = Field(default_factory=list, description="what was changed besides the fitting")


class SeedLabels(Record):
    """`labels.json` of a seed: what of its labels is not a picture. Pixels are those of the fitted image."""

    keypoints: list[tuple[float, float, int]] | None = Field(default=None, description="x, y, visibility of each point")
    attributes: list[int] | None = Field(default=None, description="index of each attribute's value, -1 if not known")


class ProjectRecord(LabelSchema):
    """One generator, a label schema and 1 to 50 seeds."""

    id: Identifier
    name: Annotated[str, Printed]
    generator: Identifier
    seeds: list[SeedRecord]
    flip: bool | None = Field(
        default=None,
        description="whether seeds flipped left to right are learnt from as well; null: if it is clear from the schema "
        "what their labels become",
    )
    created: datetime = Field(default_factory=now)

    @staticmethod
    def key(project_id: str) -> str:
        return f"projects/{project_id}/project.json"

    @staticmethod
    def seed_key(project_id: str, index: int, file: str) -> str:
        return f"projects/{project_id}/seeds/{index}/{file}"


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


class EventType(StrEnum):
    """What can happen to a job. A change of state is an event of the new state's name, and the last one its end."""

    QUEUED = "queued"
    RUNNING = "running"
    PHASE = "phase"
    PROGRESS = "progress"
    NOTE = "note"
    INTERRUPTED = "interrupted"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """The steps of a job. A generate job goes through encode (once a generator), invert, fit, generate, package."""

    IMPORT = "import"
    TRAIN = "train"
    ENCODE = "encode"
    INVERT = "invert"
    FIT = "fit"
    GENERATE = "generate"
    PACKAGE = "package"

    @property
    def unit(self) -> str:
        """What its progress counts, in words."""
        return _UNITS[self]


_UNITS = {
    Phase.IMPORT: "bytes",
    Phase.TRAIN: "images",
    Phase.ENCODE: "steps",
    Phase.INVERT: "seed steps",
    Phase.FIT: "steps",
    Phase.GENERATE: "samples",
    Phase.PACKAGE: "samples",
}


class Progress(Record):
    """How far the current phase is.

    Units: bytes for import, images shown for train, steps for encode and fit, seeds × steps for invert, flipped seeds
    included, samples for generate, images × formats for package, versions and seeds included.
    """

    done: int = 0
    total: int = 0
    rate: float | None = Field(
        default=None, description="units per second over this phase, since it was last interrupted"
    )
    eta_s: float | None = Field(default=None, description="seconds to the end of this phase at that rate")
    details: dict[str, float | str] = Field(
        default_factory=dict,
        description="what else this phase has to tell: `lpips`, `acceptance`, `slowest` stage, `busy.{stage}`, …",
    )


class JobError(Record):
    """Why a job failed, in words that are safe to show, with what to do about it."""

    code: str = Field(description="stable word, such as `fit-failed`, `worker-lost`, `timeout`")
    message: str
    retry: bool = Field(description="whether the same request may succeed if sent again")


class JobRecord(Record):
    """One accepted request. `Ledger` says when it is written to the store; in between, Redis knows more."""

    id: Identifier
    request: JobRequest = Field(discriminator="task")
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

    @model_validator(mode="before")
    @classmethod
    def _records_of_old_were_of_one_kind(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(request := values.get("request"), dict) and "task" not in request:
            return values | {"request": request | {"task": "generate"}}
        return values

    @property
    def project_id(self) -> str | None:
        """The project it is about, if it is about one."""
        return getattr(self.request, "project_id", None)

    @property
    def generator_id(self) -> str | None:
        """The generator it makes or changes, if it does."""
        return getattr(self.request, "generator_id", None)

    @property
    def dataset_id(self) -> str:
        """The job whose dataset it is about: another one, for a job that packs a dataset once more."""
        return self.request.job_id if isinstance(self.request, PackageRequest) else self.id

    @property
    def generate(self) -> GenerateRequest:
        """The request of a generate job. Raises `TypeError` for a job of another kind."""
        if not isinstance(self.request, GenerateRequest):
            raise TypeError(f"job {self.id} is a {self.request.task} job")
        return self.request

    @staticmethod
    def key(job_id: str) -> str:
        return f"jobs/{job_id}/job.json"


def generator_key(generator_id: str, file: str) -> str:
    """`generators/{id}/{file}`: weights.safetensors, encoder.safetensors, latents.safetensors, samples-0.70.png."""
    return f"generators/{generator_id}/{file}"


def rounded_truncation(truncation: float) -> float:
    """The nearest step of 0.05; pictures of samples are made at these only."""
    return round(truncation * 20) / 20


def samples_file(truncation: float) -> str:
    """The file of a generator's picture of samples."""
    return f"samples-{rounded_truncation(truncation):.2f}.png"


def upload_key(sha256: str) -> str:
    """Where an uploaded checkpoint or zip waits for the worker that makes a generator of it."""
    return f"uploads/{sha256}"


def labeler_key(fit_key: str, file: str) -> str:
    """`labelers/{fit key}/{file}`: labeler.safetensors, report.json, report.png, inversions.safetensors, sheet.png."""
    return f"labelers/{fit_key}/{file}"


def dataset_key(job_id: str, file: str) -> str:
    """`datasets/{job}/{file}`: plan.json, shard-00000.tar …, manifest.json, card.md, preview.png, {format}.zip."""
    return f"datasets/{job_id}/{file}"


def preview_key(job: JobRecord) -> str:
    """Where a job's picture lies: of its dataset, or of the generator it trains."""
    return dataset_key(job.dataset_id, "preview.png") if job.project_id else f"jobs/{job.id}/preview.png"


def training_key(job_id: str, file: str) -> str:
    """`trainings/{job}/{file}`: what another machine needs to go on with a training."""
    return f"trainings/{job_id}/{file}"


def shard_key(job_id: str, shard: int) -> str:
    """The key of one shard's tar."""
    return dataset_key(job_id, f"shard-{shard:05d}.tar")
