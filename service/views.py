"""Records as they go over HTTP: with links, and without what is only ours to know."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from service.label_schema import Attribute, DepthSchema, KeypointSchema, LabelClass, LabelKind
from service.records import GeneratorRecord, JobError, JobRecord, JobState, Phase, Progress, ProjectRecord, SeedRecord
from service.requests import EncodeRequest, FitRequest, JobRequest


class ProjectLinks(BaseModel):
    """Where to go from a project. POST to `fit` has the report and the two pictures made."""

    self: str
    fit: str
    report: str
    report_png: str
    sheet: str
    generator: str
    generate: str = "/generate"


class ProjectView(BaseModel):
    """One generator, a label schema and its seeds."""

    id: str
    name: str
    generator: str
    label_kinds: list[LabelKind]
    classes: list[LabelClass]
    keypoints: KeypointSchema | None
    depth: DepthSchema | None
    attributes: list[Attribute]
    flip: bool | None = Field(description="what `project.json` says of flipped seeds; null: the schema decides")
    seeds: list[SeedRecord]
    created: datetime
    links: ProjectLinks

    @classmethod
    def of(cls, project: ProjectRecord) -> Self:
        """The view of this record."""
        home = f"/projects/{project.id}"
        links = ProjectLinks(
            self=home,
            fit=f"{home}/fit",
            report=f"{home}/report",
            report_png=f"{home}/report.png",
            sheet=f"{home}/sheet.png",
            generator=f"/generators/{project.generator}",
        )
        derived = {"label_kinds": project.label_kinds, "links": links.model_dump()}
        return cls.model_validate(project.model_dump() | derived)


class ProjectSummary(BaseModel):
    """One row of the list of projects."""

    id: str
    name: str
    generator: str
    label_kinds: list[LabelKind]
    classes: int = Field(description="of the segmentation")
    keypoints: int = Field(description="points looked for in each image")
    attributes: int = Field(description="of the image as a whole")
    seeds: int
    created: datetime
    links: ProjectLinks

    @classmethod
    def of(cls, project: ProjectRecord) -> Self:
        """The row of this record."""
        view = ProjectView.of(project)
        counts = {
            "classes": len(project.classes),
            "keypoints": len(project.points),
            "attributes": len(project.attributes),
            "seeds": len(project.seeds),
        }
        return cls.model_validate(view.model_dump() | counts)


class ProjectList(BaseModel):
    """Projects, by id."""

    projects: list[ProjectSummary]
    next: str | None = Field(description="the last one's id, which `after` takes to go on; null: there are no more")


class JobLinks(BaseModel):
    """Where to go from a job. What is not there yet, or makes no sense any more, is null."""

    self: str
    events: str
    project: str | None = None
    generator: str | None = Field(
        default=None,
        description="which the job trains an encoder for, or has made: null until then. It may be deleted later. "
        "Whether a training that was cancelled or failed left one, its `notes` tell",
    )
    cancel: str | None = None
    preview: str | None = None
    download: dict[str, str] = Field(default_factory=dict, description="format → its zip")
    report: str | None = Field(default=None, description="what a job that fits found; `report_png` and `sheet` show it")
    report_png: str | None = None
    sheet: str | None = None


class JobView(BaseModel):
    """One accepted request and how far it is."""

    id: str
    state: JobState
    phase: Phase | None
    progress: Progress
    request: JobRequest = Field(discriminator="task")
    error: JobError | None
    held_up: str | None = Field(
        default=None,
        description="what keeps a job from going on until somebody sees to it, in words, where `GET` finds that so",
    )
    notes: list[str]
    created: datetime
    started: datetime | None
    finished: datetime | None
    links: JobLinks

    @classmethod
    def of(cls, job: JobRecord, held_up: str | None = None) -> Self:
        """The view of this record. `held_up`: why the job cannot go on, if that is known."""
        home = f"/jobs/{job.id}"
        succeeded = job.state is JobState.SUCCEEDED
        is_fit = isinstance(job.request, FitRequest)
        is_shown = succeeded and not is_fit if job.project_id else job.phase is Phase.TRAIN
        fitted = f"/projects/{job.project_id}" if succeeded and is_fit else None
        links = JobLinks(
            self=home,
            events=f"{home}/events",
            project=f"/projects/{job.project_id}" if job.project_id else None,
            generator=generator_link(job) if succeeded or isinstance(job.request, EncodeRequest) else None,
            cancel=None if job.state.is_terminal else f"{home}/cancel",
            preview=f"{home}/preview.png" if is_shown else None,
            download={name: f"{home}/download?format={name}" for name in job.outputs} if succeeded else {},
            report=f"{fitted}/report" if fitted else None,
            report_png=f"{fitted}/report.png" if fitted else None,
            sheet=f"{fitted}/sheet.png" if fitted else None,
        )
        fields = job.model_dump(include=set(cls.model_fields) - {"links", "held_up"})
        return cls.model_validate(fields | {"links": links.model_dump(), "held_up": held_up})


def generator_link(job: JobRecord) -> str | None:
    """The address of the generator a job is about, whether it is made yet or not; None if it is about none."""
    return f"/generators/{job.generator_id}" if job.generator_id else None


class JobList(BaseModel):
    """Jobs, those accepted or ended last first."""

    jobs: list[JobView]
    next: str | None = Field(description="what `before` takes to go on with older jobs; null: there are none")


class GeneratorLinks(BaseModel):
    """Where to go from a generator. POST to `encoder` trains one, where there is none yet."""

    self: str
    samples: str
    encoder: str


class GeneratorView(GeneratorRecord):
    """A frozen generator for one image domain."""

    links: GeneratorLinks

    @classmethod
    def of(cls, generator: GeneratorRecord) -> Self:
        """The view of this record."""
        home = f"/generators/{generator.id}"
        links = GeneratorLinks(self=home, samples=f"{home}/samples.png", encoder=f"{home}/encoder")
        return cls.model_validate(generator.model_dump() | {"links": links.model_dump()})


class GeneratorList(BaseModel):
    """Every generator, or those asked for."""

    generators: list[GeneratorView]
