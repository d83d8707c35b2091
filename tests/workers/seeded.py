"""Seeds of every label kind as a client uploads them, of three sizes, and what they come to in a dataset."""

import io
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.projects import Upload, create_project
from service.records import JobRecord, ProjectRecord, labeler_key
from service.requests import GenerateRequest
from service.uploads import UploadedFile
from tests.workers.packing import CLASSES, EVERY_KIND, FIT, GENERATOR, SCALE, SIDE, Drawn, PackingWorld, draw
from workers.package import make_dataset
from workers.workbench import Workbench

SIZES = {"a square": (SIDE, SIDE), "b wide": (2 * SIDE, SIDE), "c large": (2 * SIDE, 2 * SIDE)}
"""NAME → width and height of each upload."""
STEMS = [f"seed_{number:04d}" for number in range(len(SIZES))]
POINTS = ["middle", "left end", "right end"]
PLACES = {
    "a square": [(12.125, 7.3, 2), (0.7, 23.9, 1), (0.0, 0.0, 0)],
    "b wide": [(24.3, 7.3, 2), (5.0, 6.0, 2), (35.9, 0.1, 1)],
    "c large": [(24.3, 7.3, 2), (47.5, 47.9, 1), (0.1, 0.2, 2)],
}
"""x, y and visibility in the uploaded images. The second point of `b wide` lies where its left end is cropped away."""
ROWS = {"a square": "small,dark", "b wide": "large,", "c large": "small,light"}
"""Size and tone; the tone of `b wide` is not known."""
ATTRIBUTES = [[0, 0], [1, -1], [0, 1]]


@dataclass
class Expected:
    """What is known of one seed without the code that is tested."""

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    steps: npt.NDArray[np.uint16]
    points: list[tuple[float, float, int]]
    attributes: dict[str, str | None]


def _uploaded(name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Image, mask and steps of depth at the uploaded size, with everything in them that they may hold."""
    width, height = SIZES[name]
    random = np.random.default_rng(len(name))
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    mask = np.kron(random.integers(0, len(CLASSES), (height // 8, width // 8)), np.ones((8, 8))).astype(np.uint8)
    mask[::7] = 255
    steps = random.integers(1, 65536, (height, width)).astype(np.uint16)
    steps[:, ::5] = 0
    return image, mask, steps


def expected() -> list[Expected]:
    """The seeds in the order of their NAMEs: one as it is, one cropped, one at half its size."""
    found = []
    for name, (width, _) in SIZES.items():
        image, mask, steps = _uploaded(name)
        points = PLACES[name]
        if name == "b wide":
            left = (width - SIDE) // 2
            image, mask, steps = (array[:, left : left + SIDE] for array in (image, mask, steps))
            points = [(x - left, y, v) if x >= left else (0.0, 0.0, 0) for x, y, v in points]
        elif name == "c large":
            image = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
            # The middle of a pixel of half the size is a corner of four; the nearest one is that to its lower right.
            mask, steps = mask[1::2, 1::2], steps[1::2, 1::2]
            points = [(x / 2, y / 2, v) for x, y, v in points]
        size, tone = ROWS[name].split(",")
        found.append(Expected(image, mask, steps, points, {"size": size, "tone": tone or None}))
    return found


def upload(world: PackingWorld) -> ProjectRecord:
    """The project that the service makes of the seeds; its fit left one of them out."""
    files = {"project.json": json.dumps(_project()).encode(), "classes.csv": _table().encode()}
    files["keypoints.json"] = json.dumps(_keypoints()).encode()
    for name in SIZES:
        for folder, array in zip(("images", "segmentation", "depth"), _uploaded(name), strict=True):
            buffer = io.BytesIO()
            Image.fromarray(array).save(buffer, "PNG")
            files[f"{folder}/{name}.png"] = buffer.getvalue()
    opened = [UploadedFile(path, lambda data=data: io.BytesIO(data)) for path, data in files.items()]  # type: ignore[misc]
    project = create_project(world.store, Upload(opened, None, []), world.settings)
    seeds = [{"index": index, "included": index != 1, "psnr_db": 9.0} for index in range(len(SIZES))]
    report = {
        "seeds": seeds,
        "perceptual": {"weights": "pretrained"},
        "settings": {"refinement": {"steps": 300}},
    }
    world.store.put(labeler_key(FIT, "report.json"), json.dumps(report).encode())
    return project


def _project() -> dict[str, object]:
    schema = EVERY_KIND.model_dump(mode="json", exclude={"depth"})
    return {"name": "Shapes", "generator": GENERATOR, **schema, "depth": {"unit": "m", "scale": SCALE}}


def _table() -> str:
    return "\n".join(["image,size,tone", *(f"{name},{row}" for name, row in ROWS.items()), ""])


def _keypoints() -> dict[str, object]:
    names = list(SIZES)
    return {
        "images": [{"id": index, "file_name": f"{name}.png"} for index, name in enumerate(names)],
        "annotations": [
            {"image_id": index, "category_id": 1, "keypoints": [number for point in PLACES[name] for number in point]}
            for index, name in enumerate(names)
        ],
        "categories": [{"id": 1, "keypoints": POINTS}],
    }


def made(world: PackingWorld, project: ProjectRecord, job_id: str = "job", **wanted: object) -> Workbench:
    """A job with all its shards, of samples drawn by hand, that includes the seeds unless `wanted` says otherwise."""
    body = {"project_id": project.id, "count": 14, "include_seeds": True} | wanted
    request = GenerateRequest.model_validate(body)
    bench = world.bench(job_id, request)
    world.put_shards(job_id, [entry.packed for entry in drawn(request)], request.multiply, shard_size=5)
    return bench


def drawn(request: GenerateRequest) -> list[Drawn]:
    """What `made` draws for a request."""
    versions = request.multiply
    return [draw(index, EVERY_KIND, request.image_format, versions) for index in range(request.delivered)]


def packed(world: PackingWorld, **wanted: object) -> JobRecord:
    """A job that has succeeded, packed by the real body, of a project with seeds uploaded for it."""
    bench = made(world, upload(world), **wanted)
    make_dataset(bench)
    return world.ledger.get(bench.job_id)
