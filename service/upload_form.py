"""Receiving an upload: multipart/form-data, spooled to disk, bounded, and read in place."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import BinaryIO

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from service.archive import Archive, ArchiveLimits
from service.multipart import FormParser
from service.problems import Complaint, unsupported_media_type
from service.projects import PROJECT_JSON_BYTES, Upload, invalid_upload
from service.seed_files import FOLDERS
from service.settings import Settings
from service.uploads import UploadedFile, composed, duplicate_complaints, is_ignored, name_complaint, shown

_PARTS = ("archive", "files", "project")

# Some more than the one there is, so that they are told by name; each takes up to 4 MiB of memory.
_MAX_TEXTS = 8


@asynccontextmanager
async def received_upload(request: Request, settings: Settings) -> AsyncIterator[Upload]:
    """The upload in the request's body; its files can be opened until the context ends.

    Either one part `archive`, a zip, or any number of parts `files` whose file names are paths such as `images/a.png`;
    with either, a part `project` with the JSON of `project.json`. Raises `Problem`: 415 for another content type, 400
    for a broken body, 413 for one over the limit, 422 for an archive that cannot be looked into, 503 if the disk for
    uploads is full. Everything else that is wrong is in the upload's complaints.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise unsupported_media_type("multipart/form-data")
    max_files = _max_files(settings)
    form = await FormParser(request.headers, request.stream(), max_files=max_files, max_fields=_MAX_TEXTS).parse()
    try:
        yield await run_in_threadpool(_upload, form, settings)
    finally:
        await form.close()


def _upload(form: FormData, settings: Settings) -> Upload:
    complaints = [
        Complaint(field=shown(name), message="unknown part", remedy=f"the parts are {', '.join(_PARTS)}")
        for name in sorted({name for name, _ in form.multi_items()} - set(_PARTS))
    ]
    archives, loose = form.getlist("archive"), form.getlist("files")
    if len(archives) > 1 or (archives and loose):
        message = "either one archive or single files"
        complaints.append(Complaint(field="archive", message=message, remedy="leave out one of them"))
    files: list[UploadedFile] = []
    if archives:
        if isinstance(archives[0], UploadFile):
            limits = ArchiveLimits(members=_max_files(settings), unpacked_bytes=settings.max_unpacked_bytes)
            archive = Archive(archives[0].file, limits, FOLDERS)
            files, complaints = archive.files, complaints + archive.complaints
            if archive.refused:
                raise invalid_upload(complaints)
        else:
            complaints.append(Complaint(field="archive", message="it is not a file", remedy="send it with a file name"))
    else:
        for part in loose:
            _add_loose(part, files, complaints)
        complaints += duplicate_complaints(file.path for file in files)
    return Upload(files, _project_part(form, complaints), complaints)


def _add_loose(part: UploadFile | str, files: list[UploadedFile], complaints: list[Complaint]) -> None:
    if isinstance(part, str) or not part.filename:
        message = "a part without a file name"
        complaints.append(Complaint(field="files", message=message, remedy="name it by its path: images/NAME.png"))
        return
    path = composed(part.filename)
    if complaint := name_complaint(path):
        complaints.append(complaint)
    elif not is_ignored(path):
        files.append(UploadedFile(path, partial(_opened, part)))


def _project_part(form: FormData, complaints: list[Complaint]) -> bytes | None:
    """Its bytes; of one that is too large, so many that this shows."""
    parts = form.getlist("project")
    if len(parts) > 1:
        complaints.append(Complaint(field="project", message="it is sent more than once", remedy="send one"))
    if not parts:
        return None
    part = parts[0]
    return part.encode() if isinstance(part, str) else part.file.read(PROJECT_JSON_BYTES + 1)


@contextmanager
def _opened(part: UploadFile) -> Iterator[BinaryIO]:
    part.file.seek(0)
    yield part.file


def _max_files(settings: Settings) -> int:
    """Enough that somewhat too many seeds are told by name; few enough that each may hold a file open."""
    return 4 * settings.max_seeds + 16
