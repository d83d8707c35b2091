"""Records as they go over HTTP: with links, and without what is only ours to know."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from service.records import (
    GenerateRequest,
    GeneratorRecord,
    JobError,
    JobRecord,
    JobState,
    LabelClass,
    LabelKind,
    Phase,
    Progress,
    ProjectRecord,
    SeedRecord,
)


class ProjectLinks(BaseModel):
    """Where to go from a project."""

    self: str
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
    seeds: list[SeedRecord]
    created: datetime
    links: ProjectLinks

    @classmethod
    def of(cls, project: ProjectRecord) -> Self:
        """The view of this record."""
        home = f"/projects/{project.id}"
        links = ProjectLinks(self=home, sheet=f"{home}/sheet.png", generator=f"/generators/{project.generator}")
        return cls.model_validate(project.model_dump() | {"links": links.model_dump()})


class ProjectSummary(BaseModel):
    """One row of the list of projects."""

    id: str
    name: str
    generator: str
    classes: int
    seeds: int
    created: datetime
    links: ProjectLinks

    @classmethod
    def of(cls, project: ProjectRecord) -> Self:
        """The row of this record."""
        view = ProjectView.of(project)
        counts = {"classes": len(project.classes), "seeds": len(project.seeds)}
        return cls.model_validate(view.model_dump() | counts)


class ProjectList(BaseModel):
    """Every project."""

    projects: list[ProjectSummary]


class JobLinks(BaseModel):
    """Where to go from a job. What is not there yet, or makes no sense any more, is null."""

    self: str
    project: str
    cancel: str | None = None
    preview: str | None = None
    download: dict[str, str] = Field(default_factory=dict, description="format → its zip")


class JobView(BaseModel):
    """One accepted request and how far it is."""

    id: str
    state: JobState
    phase: Phase | None
    progress: Progress
    request: GenerateRequest
    error: JobError | None
    notes: list[str]
    created: datetime
    started: datetime | None
    finished: datetime | None
    links: JobLinks

    @classmethod
    def of(cls, job: JobRecord) -> Self:
        """The view of this record."""
        home = f"/jobs/{job.id}"
        succeeded = job.state is JobState.SUCCEEDED
        links = JobLinks(
            self=home,
            project=f"/projects/{job.request.project_id}",
            cancel=None if job.state.is_terminal else f"{home}/cancel",
            preview=f"{home}/preview.png" if succeeded else None,
            download={name: f"{home}/download?format={name}" for name in job.outputs} if succeeded else {},
        )
        fields = job.model_dump(include=set(cls.model_fields) - {"links"})
        return cls.model_validate(fields | {"links": links.model_dump()})


class JobList(BaseModel):
    """Jobs, those accepted or ended last first."""

    jobs: list[JobView]


class GeneratorView(GeneratorRecord):
    """A frozen generator for one image domain."""


class GeneratorList(BaseModel):
    """Every generator."""

    generators: list[GeneratorView]
