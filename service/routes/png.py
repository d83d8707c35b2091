"""How a route answers with a picture."""

from hashlib import sha256
from typing import Any

from fastapi import Request, Response

PNG_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}},
    304: {"description": "Not modified"},
}


def png_answer(png: bytes, request: Request, **headers: str) -> Response:
    """The picture, or that it has not changed, for who shows it over and over."""
    etag = f'"{sha256(png).hexdigest()[:32]}"'
    headers = {"Cache-Control": "no-cache", "ETag": etag, **headers}
    known = request.headers.get("if-none-match", "").split(",")
    if etag in {tag.strip().removeprefix("W/") for tag in known}:
        return Response(status_code=304, headers=headers)
    return Response(png, media_type="image/png", headers=headers)
