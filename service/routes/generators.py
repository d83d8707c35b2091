"""`/generators`: what images can be made of."""

import time
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service.dependencies import GeneratorId, PartsDep, StoreDep
from service.generator_making import make_encoder, make_generator
from service.generator_removal import remove_generator
from service.generator_upload import TrainingSpec, received_generator
from service.generators import every_generator, find_generator
from service.openapi import problems
from service.problems import Problem, not_found
from service.records import GeneratorRecord, JobRecord, generator_key, rounded_truncation, samples_file
from service.routes.accepted import IdempotencyKey, accepted
from service.routes.png import PNG_ANSWERS, png_answer
from service.stores.protocol import ObjectMissing, Store
from service.views import GeneratorList, GeneratorView, JobView

router = APIRouter(prefix="/generators", tags=["generators"])

_WAIT_S = 10.0
_LOOK_EVERY_S = 0.25

_BINARY = {"type": "string", "format": "binary"}
_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "checkpoint": _BINARY | {"description": "a trained generator; or:"},
                        "images": _BINARY | {"description": "a zip of unlabeled PNG, JPEG or WebP images to train on"},
                        "name": {"type": "string", "description": "what people call it; the file's name if left out"},
                        "id": {"type": "string", "description": "what projects call it; made from the content's hash"},
                        "settings": TrainingSpec.model_json_schema() | {"description": "how to train on `images`"},
                    },
                }
            }
        },
    }
}
_MADE: dict[int | str, dict[str, Any]] = {
    200: {"model": GeneratorView, "description": "It is there already"},
    202: {"model": JobView, "description": "A job makes it"},
}


@router.get("", summary="List generators", responses=problems(422, 503))
def list_generators(
    store: StoreDep,
    sha256: Annotated[
        str | None, Query(pattern="^[0-9a-fA-F]{64}$", description="only those made of the file with this SHA-256")
    ] = None,
) -> GeneratorList:
    """Every generator a project can use, by id.

    With `sha256`, ask before you upload: a file that a generator was made of need not be sent again.
    """
    wanted = (g for g in every_generator(store) if sha256 is None or g.upload_sha256 == sha256.lower())
    return GeneratorList(generators=[GeneratorView.of(generator) for generator in wanted])


@router.post(
    "",
    status_code=202,
    summary="Import or train a generator",
    response_model=None,
    responses=_MADE | problems(400, 409, 413, 415, 422, 503),
    openapi_extra=_UPLOAD,
)
async def create_generator(
    request: Request, response: Response, parts: PartsDep, idempotency_key: IdempotencyKey = None
) -> GeneratorView | JobView:
    """Upload a checkpoint (NVIDIA's `.pkl`, rosinality's `.pt`, labelmint's `.safetensors`), or images to train on.

    A job does the rest: a checkpoint is read in a process of its own with bounded memory, and nothing in it is ever
    executed. The same file again is no second job: the answer is the generator, or the job that is making it.
    """
    async with received_generator(request) as upload:
        made = await run_in_threadpool(make_generator, upload, idempotency_key, parts)
    return _answer(made, response)


@router.get("/{generator_id}", summary="Get a generator", responses=problems(404, 503))
def get_generator(generator_id: GeneratorId, store: StoreDep) -> GeneratorView:
    """One generator: its resolution, its size, where it comes from, whether it has an encoder, how its w are spread."""
    return GeneratorView.of(_generator(store, generator_id))


@router.delete("/{generator_id}", status_code=204, summary="Delete a generator", responses=problems(404, 409, 503))
def delete_generator(generator_id: GeneratorId, parts: PartsDep) -> None:
    """Remove the generator and its encoder. 409 while projects or unfinished jobs use it, and for bundled ones."""
    remove_generator(parts.store, parts.ledger, parts.redis, generator_id)


@router.post(
    "/{generator_id}/encoder",
    status_code=202,
    summary="Train an encoder",
    response_model=None,
    responses=_MADE | problems(404, 422, 503),
)
def create_encoder(
    generator_id: GeneratorId, response: Response, parts: PartsDep, idempotency_key: IdempotencyKey = None
) -> GeneratorView | JobView:
    """Train the network that inverts images, on the generator's own samples; 200 if there is one already.

    It is trained by itself the first time a project needs it. Call this to have it before.
    """
    made = make_encoder(generator_id, idempotency_key, parts)
    if made is None:
        raise not_found("generator")
    return _answer(made, response)


@router.get(
    "/{generator_id}/samples.png",
    summary="Look at a generator",
    response_class=Response,
    responses=PNG_ANSWERS | problems(404, 422, 503),
)
async def get_samples(
    generator_id: GeneratorId,
    request: Request,
    parts: PartsDep,
    truncation: Annotated[
        float, Query(ge=0.0, le=1.0, description="psi, rounded to 0.05; the header `X-Truncation` says to what")
    ] = 0.7,
) -> Response:
    """A grid of samples; if the generator has classes, with one row for each of the first ten.

    That of 0.7 comes with an imported or trained generator. Others, and all of a bundled one, are drawn by a worker
    when somebody asks: the answer waits some seconds for that, and is 503 with `Retry-After` if all workers are busy.
    """
    file = samples_file(truncation)
    await run_in_threadpool(_generator, parts.store, generator_id)
    picture = await run_in_threadpool(_read, parts.store, generator_id, file)
    if picture is None:
        await run_in_threadpool(parts.queue.enqueue_samples, generator_id, truncation)
        end = time.monotonic() + _WAIT_S
        while picture is None and time.monotonic() < end and not await request.is_disconnected():
            await anyio.sleep(_LOOK_EVERY_S)
            picture = await run_in_threadpool(_read, parts.store, generator_id, file)
    if picture is None:
        detail = "The picture is being drawn; ask again soon."
        raise Problem(503, "samples-not-ready", "Samples not ready", detail, headers={"Retry-After": "5"})
    shown = f"{rounded_truncation(truncation):.2f}"
    return png_answer(picture, request, **{"X-Truncation": shown})


def _answer(made: GeneratorRecord | JobRecord, response: Response) -> GeneratorView | JobView:
    if isinstance(made, GeneratorRecord):
        response.status_code = 200
        response.headers["Location"] = f"/generators/{made.id}"
        return GeneratorView.of(made)
    return accepted(made, response)


def _read(store: Store, generator_id: str, file: str) -> bytes | None:
    try:
        return store.read(generator_key(generator_id, file))
    except ObjectMissing:
        return None


def _generator(store: Store, generator_id: str) -> GeneratorRecord:
    generator = find_generator(store, generator_id)
    if generator is None:
        raise not_found("generator")
    return generator
