"""`/projects`: seeds with their labels, and what was learnt of them."""

from itertools import islice
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from service.dependencies import PartsDep, ProjectId, SettingsDep, StoreDep
from service.json_body import json_only
from service.label_schema import Record
from service.openapi import problems
from service.project_removal import remove_unused_project
from service.project_spec import ProjectSpec
from service.projects import create_project as store_project
from service.projects import every_project, force_seeds, known_project, project_lock, read_fit_file
from service.routes.png import PNG_ANSWERS, png_answer
from service.upload_form import received_upload
from service.views import ProjectList, ProjectSummary, ProjectView

router = APIRouter(prefix="/projects", tags=["projects"])

# Decoding an image takes up to a gigabyte, so few uploads are checked at the same time.
_checking = anyio.CapacityLimiter(2)

_EXAMPLE = {
    "name": "Bears",
    "generator": "toy-bears",
    "classes": [{"name": "background", "color": "#000000"}, {"name": "bear"}],
    "keypoints": {
        "points": [
            {"name": "left_ear", "mirror": "right_ear"},
            {"name": "right_ear", "mirror": "left_ear"},
            {"name": "nose"},
        ],
        "skeleton": [["left_ear", "nose"], ["right_ear", "nose"]],
    },
    "depth": {"unit": "m", "scale": 0.001},
    "attributes": [{"name": "species", "values": ["brown bear", "koala", "panda"]}],
    "forced_seeds": [],
}
_LAYOUT = """`project.json`, `images/NAME.png` or `.jpg`, and the labels of the kinds that the project has: masks
`segmentation/NAME.png`; `keypoints.json` as COCO, or `keypoints.csv` of the columns `image,point,x,y,visibility`;
`depth/NAME.png` of 16 bits, or `depth/NAME.npy`; `classes.csv` of the column `image` and one for each attribute"""


def _project_schema() -> dict[str, Any]:
    """The JSON schema of `project.json`, whole in itself: a schema in the middle of a document has no `$defs`."""
    schema = ProjectSpec.model_json_schema()
    parts = schema.pop("$defs", {})

    def inlined(node: Any) -> Any:
        if isinstance(node, list):
            return [inlined(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            part = parts[node["$ref"].removeprefix("#/$defs/")]
            node = part | {name: value for name, value in node.items() if name != "$ref"}
        return {name: inlined(value) for name, value in node.items()}

    whole: dict[str, Any] = inlined(schema)
    return whole | {"description": "what project.json would say; goes before it", "example": _EXAMPLE}


_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "archive": {"type": "string", "format": "binary", "description": f"a zip of {_LAYOUT}"},
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "the same files one by one, each with its path as file name",
                        },
                        "project": _project_schema(),
                    },
                }
            }
        },
    }
}


class ProjectChange(Record):
    """What can be changed of a project without uploading it anew."""

    forced_seeds: list[str] = Field(
        description="NAMEs of all seeds that enter the fit however badly the generator rebuilds them"
    )


@router.post(
    "",
    status_code=201,
    summary="Create a project",
    responses=problems(400, 413, 415, 422, 503),
    openapi_extra=_UPLOAD,
)
async def create_project(request: Request, response: Response, store: StoreDep, settings: SettingsDep) -> ProjectView:
    """Upload 1 to 50 images with labels of one to four kinds; each image has labels of all of them.

    **Segmentation.** A mask `segmentation/NAME.png` is an 8-bit greyscale or palette PNG in which a pixel's value is
    the index of its class in `classes`; 255 marks pixels to ignore.

    **Keypoints.** `keypoints.json` has COCO's `images`, `annotations` (one for each image, `[x, y, v, …]`) and
    `categories` (one, with the names of the points); `keypoints.csv` has the columns `image,point,x,y,visibility` and a
    row for each point of each image. Pixels count from the image's top left corner, so that the centre of the first one
    is (0.5, 0.5). Visibility: 0 not in the image, 1 hidden, 2 visible.

    **Depth.** `depth/NAME.png` is 16-bit greyscale, depth = pixel × `depth.scale`, and 0 where it is not known;
    `depth/NAME.npy` is a 2-D array in `depth.unit`, not known where it is NaN, infinite, 0 or less. Without PNG files
    the scale may be left out: the project's is chosen so that its largest depth is the last of 65535 steps.

    **Class.** `classes.csv` has the column `image` and one for each attribute; an empty cell is not known.

    Tables call an image by its NAME, its file name or its path. Images of other sizes are fitted to the generator's
    resolution: the short side is resized to it, then the centre is cropped. Labels are fitted likewise, masks and depth
    by nearest neighbour; keypoints outside the crop count as not in the image. EXIF orientation is applied to images,
    and labels are those of the image as it is shown; transparency is composited over white. The answer says of each
    seed what was done. If anything is wrong, nothing is kept, and the answer lists every fault of every file.
    """
    async with received_upload(request, settings) as upload:
        project = await anyio.to_thread.run_sync(store_project, store, upload, settings, limiter=_checking)
    response.headers["Location"] = f"/projects/{project.id}"
    return ProjectView.of(project)


@router.get("", summary="List projects", responses=problems(422, 503))
def list_projects(
    store: StoreDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="projects to return at most")] = 100,
    after: Annotated[str | None, Query(description="only projects that come after the one with this id")] = None,
) -> ProjectList:
    """Projects, by id, without their seeds. To go on where there are more, ask with `after` the answer's `next`."""
    found = list(islice(every_project(store, after), limit + 1))
    rows = [ProjectSummary.of(project) for project in found[:limit]]
    return ProjectList(projects=rows, next=rows[-1].id if len(found) > limit else None)


@router.get("/{project_id}", summary="Get a project", responses=problems(404, 503))
def get_project(project_id: ProjectId, store: StoreDep) -> ProjectView:
    """The project with its labels and, for each seed, how it was fitted and how much of each label it has."""
    return ProjectView.of(known_project(store, project_id))


@router.patch(
    "/{project_id}",
    summary="Change a project",
    responses=problems(400, 404, 413, 415, 422, 503),
    dependencies=[Depends(json_only)],
)
def change_project(project_id: ProjectId, wanted: ProjectChange, parts: PartsDep) -> ProjectView:
    """Force seeds into the fit, or no longer. The next fit heeds it; the report and the sheet stay those of the last.

    `forced_seeds` is the whole list: a seed that it does not name is not forced.
    """
    with project_lock(parts.redis, project_id):
        return ProjectView.of(force_seeds(parts.store, project_id, wanted.forced_seeds))


@router.delete("/{project_id}", status_code=204, summary="Delete a project", responses=problems(404, 409, 503))
def delete_project(project_id: ProjectId, parts: PartsDep) -> None:
    """Remove the project and its seeds. Datasets made from it stay. 409 while unfinished jobs use it."""
    remove_unused_project(parts.store, parts.ledger, parts.redis, project_id)


@router.get(
    "/{project_id}/sheet.png",
    summary="Look at what was learnt",
    response_class=Response,
    responses=PNG_ANSWERS | problems(404, 503),
)
def get_sheet(project_id: ProjectId, request: Request, store: StoreDep) -> Response:
    """A picture of each seed, its reconstruction, its label, and the label predicted for the reconstruction."""
    known_project(store, project_id)
    _, sheet = read_fit_file(store, project_id, "sheet.png")
    return png_answer(sheet, request)
