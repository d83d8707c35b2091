"""Receiving what a generator is to be made of: spooled to disk, hashed as it comes in, and looked at from outside."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from fastapi import Request
from pydantic import Field, StrictInt, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from service.generator_names import NAME_REMEDY, is_name, name_of_file
from service.ids import IDENTIFIER
from service.multipart import FormParser
from service.problems import Complaint, Problem, complaint_of, invalid_request, unsupported_media_type
from service.requests import TrainingChoices
from service.sniffing import Content, sniff

_TEXT_BYTES = 64 * 1024
_TEXTS = ("name", "id", "settings")
_PARTS = (*Content, *_TEXTS)
_RESOLUTIONS = (32, 64, 128, 256, 512, 1024)


class TrainingSpec(TrainingChoices):
    """How to train on a zip of images: the part `settings`, as JSON."""

    resolution: StrictInt | None = Field(
        default=None, description="pixels a side: 32, 64, 128, … 1024; 64 if left out, or that of `start`"
    )


@dataclass(frozen=True, slots=True)
class GeneratorUpload:
    """One file that a generator is to be made of, and what the client says of it."""

    content: Content
    file: BinaryIO
    """Seekable, on the disk; open until the request ends."""
    sha256: str
    name: str | None
    generator_id: str | None
    training: TrainingSpec | None
    """Of a zip of images; None with a checkpoint."""


class _Parser(FormParser):
    """Hashes the one file while it is written to the disk. Another beside it is taken, to be complained of by name."""

    def __init__(self, request: Request) -> None:
        super().__init__(
            request.headers, request.stream(), max_files=len(Content), max_fields=len(_PARTS), max_part_size=_TEXT_BYTES
        )
        self.sha256 = hashlib.sha256()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        super().on_part_data(data, start, end)
        if self._current_part.file is not None:
            self.sha256.update(memoryview(data)[start:end])


@asynccontextmanager
async def received_generator(request: Request) -> AsyncIterator[GeneratorUpload]:
    """The upload in the request's body; its file can be read until the context ends, and is gone then.

    Raises `Problem`: 415 for another content type or a file that is neither checkpoint nor zip of images, 400 for a
    broken body, 413 for one over the limit, 503 if the disk for uploads is full, 422 with all else that is wrong.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise unsupported_media_type("multipart/form-data")
    parser = _Parser(request)
    form = await parser.parse()
    try:
        yield await run_in_threadpool(_upload, form, parser.sha256.hexdigest())
    finally:
        await form.close()


def _upload(form: FormData, sha256: str) -> GeneratorUpload:
    complaints = [_unknown_part(name) for name in sorted({name for name, _ in form.multi_items()} - set(_PARTS))]
    for name in _PARTS:
        if len(form.getlist(name)) > 1:
            complaints.append(Complaint(field=name, message="it is sent more than once", remedy="send one"))
    part, file = _the_file(form, complaints)
    texts = {name: _text(form, name, complaints) for name in _TEXTS}
    _check_names(texts, complaints)
    training = _training(texts["settings"], part, complaints)
    content = sniff(file) if file is not None else None
    if content is not None and content != part:
        message = f"it is {_described(content)}"
        complaints.append(Complaint(field=part, message=message, remedy=f"send it as the part `{content}`"))
    if complaints or part is None or file is None:
        raise invalid_request(complaints)
    if content is None:
        raise _neither()
    name = texts["name"] or name_of_file(_file_name(form, part))
    return GeneratorUpload(content, file, sha256, name, texts["id"], training)


def _the_file(form: FormData, complaints: list[Complaint]) -> tuple[Content | None, BinaryIO | None]:
    given = [part for part in Content if form.getlist(part)]
    if len(given) != 1:
        message = "one of the parts `checkpoint` and `images` is needed" if not given else "it comes with `images`"
        remedy = "send a checkpoint as `checkpoint`, or a zip of unlabeled images as `images`"
        complaints.append(Complaint(field="checkpoint", message=message, remedy=remedy))
        return None, None
    value = form[given[0]]
    if not isinstance(value, UploadFile):
        complaints.append(Complaint(field=given[0], message="it is not a file", remedy="send it with a file name"))
        return given[0], None
    if not value.size:
        complaints.append(Complaint(field=given[0], message="it is empty", remedy="send a file that holds something"))
        return given[0], None
    return given[0], value.file


def _text(form: FormData, name: str, complaints: list[Complaint]) -> str | None:
    value = form.get(name)
    if isinstance(value, UploadFile):
        complaints.append(Complaint(field=name, message="it is a file", remedy="send it without a file name"))
        return None
    return (value or "").strip() or None


def _check_names(texts: dict[str, str | None], complaints: list[Complaint]) -> None:
    name, generator_id = texts["name"], texts["id"]
    if name is not None and not is_name(name):
        complaints.append(Complaint(field="name", message="it is too long or not printable", remedy=NAME_REMEDY))
    if generator_id is not None and not IDENTIFIER.fullmatch(generator_id):
        remedy = "use lower-case letters, digits and dashes, at most 64 of them"
        complaints.append(Complaint(field="id", message="it is not an id", remedy=remedy))


def _training(text: str | None, part: Content | None, complaints: list[Complaint]) -> TrainingSpec | None:
    if part is not Content.IMAGES:
        if text is not None and part is Content.CHECKPOINT:
            message = "a checkpoint is not trained"
            complaints.append(Complaint(field="settings", message=message, remedy="leave it out"))
        return None
    try:
        spec = TrainingSpec.model_validate_json(text or "{}")
    except ValidationError as error:
        for item in error.errors(include_input=False):
            complaints.append(complaint_of(item, ["settings", *item["loc"]]))
        return None
    if spec.resolution not in (None, *_RESOLUTIONS):
        remedy = f"choose one of {', '.join(map(str, _RESOLUTIONS))}"
        complaints.append(Complaint(field="settings.resolution", message="no such resolution", remedy=remedy))
    return spec


def _file_name(form: FormData, part: Content) -> str:
    value = form[part]
    return (value.filename or "") if isinstance(value, UploadFile) else ""


def _unknown_part(name: str) -> Complaint:
    return Complaint(field=name[:64], message="unknown part", remedy=f"the parts are {', '.join(_PARTS)}")


def _described(content: Content) -> str:
    return "a checkpoint" if content is Content.CHECKPOINT else "a zip of images"


def _neither() -> Problem:
    detail = (
        "The file is neither a checkpoint (NVIDIA's .pkl, rosinality's .pt, or labelmint's own .safetensors) nor a zip "
        "of PNG, JPEG or WebP images. Its content was looked at, not its name. Nothing was kept."
    )
    return Problem(415, "unsupported-file", "Unsupported file", detail)
