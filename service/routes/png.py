"""How a route answers with a picture."""

from hashlib import sha256
from typing import Any

from fastapi import Request, Response

from service.etags import is_held

PNG_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}},
    304: {"description": "Not modified"},
}


def png_answer(png: bytes, request: Request, **headers: str) -> Response:
    """The picture, or that it has not changed, for who shows it over and over."""
    etag = f'"{sha256(png).hexdigest()[:32]}"'
    headers = {"Cache-Control": "no-cache", "ETag": etag, **headers}
    if is_held(etag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    return Response(png, media_type="image/png", headers=headers)
