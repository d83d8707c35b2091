"""`/projects/{id}/report`: how right the labels will be, known from the seeds before anything is generated."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.dependencies import ProjectId, StoreDep
from service.openapi import problems
from service.projects import known_project, read_fit_file
from service.routes.png import PNG_ANSWERS, png_answer

router = APIRouter(prefix="/projects", tags=["projects"])


class SeedReport(BaseModel):
    """How well one seed was inverted and labeled; further figures depend on the project's label kinds."""

    model_config = ConfigDict(extra="allow")

    index: int
    name: str
    included: bool = Field(description="whether the labeler learnt from it")
    reason: str | None = Field(description="why it was left out, or why it is in although it inverts badly")
    psnr_db: float = Field(description="of its reconstruction")
    held_out: dict[str, float | None] | None = Field(
        default=None, description="how right its labels were when a labeler made them that had not seen it"
    )


class FlippedSeeds(BaseModel):
    """How well flipped seeds were inverted, and what became of them."""

    psnr_db: float = Field(description="of their reconstructions, on average")
    straight_psnr_db: float | None = Field(default=None, description="of those of the same seeds as they are")
    usable: int | None = Field(
        default=None, description="how many the generator rebuilds; 0, if it rebuilds seeds better as they are"
    )
    used: int = Field(
        description="how many of them the labeler learnt from; 0, if there was memory for lessons or for them"
    )


class LabelReport(BaseModel):
    """What the fit found; further fields say what it was done with and how long it took."""

    model_config = ConfigDict(extra="allow")

    project_id: str
    fit_key: str
    seeds: list[SeedReport]
    flipped: FlippedSeeds | None = Field(
        default=None, description="none, if `flip` of the project says so, or is null and the schema leaves it open"
    )
    lessons: int = Field(
        default=0, description="random images from which the labeler learnt masks in a second round; 0 without one"
    )
    examples: dict[str, Any] = Field(
        default_factory=dict, description="seeds of the fit that show each class, label each point, have each value"
    )
    held_out: dict[str, Any] | None = Field(
        default=None,
        description="figures by label kind, each seed labeled by a labeler that had not seen it; none for few seeds",
    )
    advice: list[str] = Field(default_factory=list, description="what to do about what was found")


@router.get("/{project_id}/report", summary="Learn how right the labels will be", responses=problems(404, 503))
def get_report(project_id: ProjectId, store: StoreDep) -> LabelReport:
    """Figures from a cross-validation over the seeds, which of them were left out and why, and advice."""
    project = known_project(store, project_id)
    key, data = read_fit_file(store, project_id, "report.json")
    report = json.loads(data)
    names = {seed.index: seed.name for seed in project.seeds}
    seeds = [row | {"name": names.get(row["index"], f"seed {row['index']}")} for row in report.pop("seeds")]
    return LabelReport.model_validate(report | {"project_id": project_id, "fit_key": key, "seeds": seeds})


@router.get(
    "/{project_id}/report.png",
    summary="Look at how right the labels will be",
    response_class=Response,
    responses=PNG_ANSWERS | problems(404, 503),
)
def get_report_page(project_id: ProjectId, request: Request, store: StoreDep) -> Response:
    """The report's figures and its advice on one page."""
    known_project(store, project_id)
    _, page = read_fit_file(store, project_id, "report.png")
    return png_answer(page, request)
