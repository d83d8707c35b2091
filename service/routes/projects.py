"""`/projects`: seeds with their labels, and what was learnt of them."""

from typing import Any

import anyio
from fastapi import APIRouter, Request, Response

from service.dependencies import LedgerDep, ProjectId, SettingsDep, StoreDep
from service.openapi import problems
from service.problems import Problem, not_found
from service.project_spec import ProjectSpec
from service.projects import create_project as store_project
from service.projects import every_project, find_project, fit_of, remove_project
from service.records import ProjectRecord, labeler_key
from service.stores.protocol import ObjectMissing, Store
from service.upload_form import received_upload
from service.views import ProjectList, ProjectSummary, ProjectView

router = APIRouter(prefix="/projects", tags=["projects"])

# Decoding an image takes up to a gigabyte, so few uploads are checked at the same time.
_checking = anyio.CapacityLimiter(2)

_EXAMPLE = {
    "name": "Bears",
    "generator": "toy-bears",
    "label_kinds": ["segmentation"],
    "classes": [{"name": "background", "color": "#000000"}, {"name": "bear"}],
}
_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "archive": {
                            "type": "string",
                            "format": "binary",
                            "description": "a zip of images/NAME.png|jpg, segmentation/NAME.png and project.json",
                        },
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "the same files one by one, each with its path as file name",
                        },
                        "project": ProjectSpec.model_json_schema()
                        | {"description": "what project.json would say; goes before it", "example": _EXAMPLE},
                    },
                }
            }
        },
    }
}


@router.post(
    "",
    status_code=201,
    summary="Create a project",
    responses=problems(400, 413, 415, 422, 503),
    openapi_extra=_UPLOAD,
)
async def create_project(request: Request, response: Response, store: StoreDep, settings: SettingsDep) -> ProjectView:
    """Upload 1 to 50 images with a mask each.

    A mask is an 8-bit greyscale or palette PNG in which a pixel's value is the index of its class in `classes`. Images
    of other sizes are fitted to the generator's resolution: the short side is resized to it, then the centre is
    cropped; masks likewise by nearest neighbour. EXIF orientation is applied to images, not to masks; transparency is
    composited over white. The answer says of each seed what was done. If anything is wrong, nothing is kept, and the
    answer lists every fault of every file.
    """
    async with received_upload(request, settings) as upload:
        project = await anyio.to_thread.run_sync(store_project, store, upload, settings, limiter=_checking)
    response.headers["Location"] = f"/projects/{project.id}"
    return ProjectView.of(project)


@router.get("", summary="List projects", responses=problems(503))
def list_projects(store: StoreDep) -> ProjectList:
    """Every project, by id, without its seeds."""
    return ProjectList(projects=[ProjectSummary.of(project) for project in every_project(store)])


@router.get("/{project_id}", summary="Get a project", responses=problems(404, 503))
def get_project(project_id: ProjectId, store: StoreDep) -> ProjectView:
    """The project with its classes and, for each seed, how it was fitted and how much of it each class covers."""
    return ProjectView.of(_project(store, project_id))


@router.delete("/{project_id}", status_code=204, summary="Delete a project", responses=problems(404, 409, 503))
def delete_project(project_id: ProjectId, store: StoreDep, ledger: LedgerDep) -> None:
    """Remove the project and its seeds. Datasets made from it stay. 409 while unfinished jobs use it."""
    _project(store, project_id)
    users = [job.id for job in ledger.unfinished() if job.project_id == project_id]
    if users:
        detail = f"{len(users)} unfinished jobs use the project; cancel them first: {', '.join(users[:5])}."
        raise Problem(409, "project-in-use", "Project in use", detail)
    remove_project(store, project_id)


@router.get(
    "/{project_id}/sheet.png",
    summary="Look at what was learnt",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **problems(404, 503)},
)
def get_sheet(project_id: ProjectId, store: StoreDep) -> Response:
    """A picture of each seed, its reconstruction, its label, and the label predicted for the reconstruction."""
    _project(store, project_id)
    fit_key = fit_of(store, project_id)
    try:
        if fit_key is None:
            raise ObjectMissing(project_id)
        sheet = store.read(labeler_key(fit_key, "sheet.png"))
    except ObjectMissing:
        detail = "The fit has not run yet; POST /generate first."
        raise Problem(404, "not-fitted", "Not fitted yet", detail) from None
    return Response(sheet, media_type="image/png", headers={"Cache-Control": "no-cache"})


def _project(store: Store, project_id: str) -> ProjectRecord:
    project = find_project(store, project_id)
    if project is None:
        raise not_found("project")
    return project
