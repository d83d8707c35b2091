"""Errors as RFC 9457 `application/problem+json`: a stable type, and what to do about it."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

import redis
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.allowed_methods import allowed_methods
from service.locks import LockBusy
from service.stores.protocol import StoreFull, StoreUnavailable

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5

_log = structlog.get_logger(__name__)


class Complaint(BaseModel):
    """One thing wrong with a request."""

    file: str | None = Field(default=None, description="the uploaded file it is about")
    field: str | None = Field(default=None, description="the JSON field or part it is about")
    message: str
    remedy: str | None = Field(default=None, description="what to do about it")


class ProblemDocument(BaseModel):
    """The body of every error response."""

    type: str = Field(description="stable, relative URI of the kind of problem", examples=["/problems/invalid-upload"])
    title: str = Field(description="the same for every problem of this type")
    status: int
    detail: str | None = Field(default=None, description="what is wrong this time, and what to do")
    errors: list[Complaint] = Field(default_factory=list, description="every single thing found wrong")


class Problem(HTTPException):
    """Raised anywhere below a route to answer with a problem document.

    It is an `HTTPException`, so that it passes unchanged through code that turns other errors of a body into 400.
    """

    def __init__(
        self,
        status: int,
        type: str,  # noqa: A002
        title: str,
        detail: str | None = None,
        errors: Sequence[Complaint] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`type` is the last part of the problem's URI, such as `invalid-upload`."""
        super().__init__(status, detail, dict(headers or {}))
        document = ProblemDocument(
            type=f"/problems/{type}", title=title, status=status, detail=detail, errors=list(errors)
        )
        self.document = document

    def response(self) -> JSONResponse:
        """The answer that tells of this problem."""
        return JSONResponse(
            self.document.model_dump(exclude_none=True),
            status_code=self.document.status,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


def not_found(what: Literal["generator", "job", "project"]) -> Problem:
    """404: there is no such `what`."""
    return Problem(404, "not-found", "Not found", f"There is no such {what}; GET /{what}s lists those there are.")


def no_dataset() -> Problem:
    """409: a dataset is asked for of a job that makes something else."""
    detail = "This job did not generate a dataset. Name the one that did."
    return Problem(409, "no-dataset", "No dataset", detail)


def unsupported_media_type(expected: str) -> Problem:
    """415: the body's content type is not the `expected` one."""
    return Problem(
        415,
        "unsupported-media-type",
        "Unsupported media type",
        f"Send the body as {expected}.",
        headers={"Accept": expected},
    )


def not_acceptable(offers: Sequence[str]) -> Problem:
    """406: the client accepts none of these media types."""
    return Problem(406, "not-acceptable", "Not acceptable", f"Accept one of these: {', '.join(offers)}.")


def too_large(limit_bytes: int, setting: str | None = None) -> Problem:
    """413: the body is over the limit, which is that of a setting or always the same."""
    remedy = "Send less." if setting is None else f"Send less, or let whoever runs the service raise {setting}."
    detail = f"The body may hold {limit_bytes} bytes. {remedy}"
    return Problem(413, "too-large", "Body too large", detail, headers={"Connection": "close"})


def complaint_of(item: Mapping[str, Any], path: Sequence[str | int]) -> Complaint:
    """One of pydantic's errors, at the place `path`, without the values it holds."""
    field = ".".join(str(part)[:64] for part in path)
    if item["type"] == "extra_forbidden":
        return Complaint(field=field, message="unknown field", remedy="remove it; /docs lists the known ones")
    return Complaint(field=field, message=str(item["msg"]).removeprefix("Value error, "))


def invalid_request(errors: Sequence[Complaint]) -> Problem:
    """422: the request's values are wrong."""
    return Problem(
        422, "invalid-request", "Invalid request", "Correct every item of `errors`, then send again.", errors
    )


def unavailable(what: str, detail: str) -> Problem:
    """503: a part the service needs cannot be reached now."""
    return Problem(503, f"{what}-unavailable", "Unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def install_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""

    def on_problem(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)  # noqa: S101
        return error.response()

    def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        return _of_http(error, request).response()

    def on_invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return invalid_request([_complaint(item) for item in error.errors()]).response()

    def on_store(_: Request, error: Exception) -> JSONResponse:
        _log.error("store unavailable", reason=str(error))
        if isinstance(error, StoreFull):
            detail = "The object store is full. Whoever runs the service has to make room in it, or give it more."
            return Problem(503, "store-full", "Store full", detail).response()
        return unavailable("store", "The object store cannot be reached. Try again later.").response()

    def on_redis(_: Request, error: Exception) -> JSONResponse:
        if isinstance(error, LockBusy):
            detail, headers = f"{error}. Try again later.", {"Retry-After": str(RETRY_AFTER_S)}
            return Problem(503, "busy", "Busy", detail, headers=headers).response()
        _log.error("redis unavailable", reason=str(error))
        return unavailable("redis", "Redis cannot be reached. Try again later.").response()

    def on_disconnect(_: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
        # Nobody reads this; the connection is gone.
        return Problem(400, "disconnected", "Disconnected").response()

    def on_anything(_: Request, error: Exception) -> JSONResponse:
        _log.error("unexpected error", exc_info=error)
        return Problem(500, "internal", "Internal error", "The service failed; its log says why.").response()

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(StoreUnavailable, on_store)
    app.add_exception_handler(redis.RedisError, on_redis)
    app.add_exception_handler(ClientDisconnect, on_disconnect)
    app.add_exception_handler(Exception, on_anything)


def _of_http(error: HTTPException, request: Request) -> Problem:
    status, headers = HTTPStatus(error.status_code), dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = allowed_methods(request, headers.get("Allow", ""))
    details = {
        404: "There is nothing at this address; /docs lists what there is.",
        405: "This address does not answer that method; see the Allow header.",
        400: "The body could not be read; check its format.",
    }
    kind = status.phrase.lower().replace(" ", "-").replace("'", "")
    return Problem(status, kind, status.phrase.capitalize(), details.get(status), headers=headers)


def _complaint(item: Mapping[str, Any]) -> Complaint:
    place, *path = item["loc"]
    if item["type"] == "json_invalid":
        return Complaint(message="the body is not JSON", remedy="send one JSON object")
    return complaint_of(item, path or [place])
