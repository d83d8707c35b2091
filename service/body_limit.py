"""No request body is read past its limit, whatever its headers say of its length."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import too_large

_DRAIN_BYTES = 64 * 2**20
_DRAIN_S = 5.0


class Limit(NamedTuple):
    """How many bytes a body may hold, and the setting that says so, if one does."""

    bytes: int
    setting: str | None = None


class BodyLimit:
    """ASGI middleware: a body over the `limit_of(scope)` is answered with 413.

    A body that declares too much is refused unread; one that declares nothing, or lies, is counted as it comes in.
    """

    def __init__(self, app: ASGIApp, limit_of: Callable[[Scope], Limit]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_of(scope)
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit.bytes:
            if "expect" not in headers:
                await _drain(receive)
            await too_large(*limit).response()(scope, receive, send)
            return
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            if message["type"] == "http.request":
                count += len(message.get("body", b""))
                if count > limit.bytes:
                    await _drain(receive)
                    raise too_large(*limit)
            return message

        await self._app(scope, counted, send)


async def _drain(receive: Receive) -> None:
    """Read some more and throw it away: a connection closed on unread bytes is reset, and its answer lost."""
    count = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while count < _DRAIN_BYTES:
                message = await receive()
                count += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
