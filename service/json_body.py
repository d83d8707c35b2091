"""Routes that take JSON and nothing else."""

from fastapi import Request

from service.problems import unsupported_media_type


def json_only(request: Request) -> None:
    """A dependency that answers 415 to a body of another type."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise unsupported_media_type("application/json")
