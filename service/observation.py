"""What is known of every request afterwards: a log line, a count, a duration, an id."""

import time

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.registry import Collector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ids import new_id
from service.uploads import shown

_log = structlog.get_logger(__name__)
_QUIET = {"/healthz", "/readyz", "/metrics"}
_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}


class RequestMetrics:
    """The counters of one application, and the figures of `gauges` beside them."""

    def __init__(self, gauges: Collector) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "labelmint_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.duration = Histogram(
            "labelmint_http_request_duration_seconds",
            "Time to the end of the answer",
            ["route"],
            registry=self.registry,
        )
        self.registry.register(gauges)


class Observation:
    """ASGI middleware that logs and counts each request, and names it in the header `X-Request-ID`."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id()
        status = 500
        began = time.perf_counter()

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, named)
            finally:
                route = getattr(scope.get("route"), "path", "none")
                seconds = time.perf_counter() - began
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._metrics.requests.labels(method, route, str(status)).inc()
                self._metrics.duration.labels(route).observe(seconds)
                if route not in _QUIET:
                    _log.info(
                        "request",
                        method=scope["method"],
                        path=shown(scope["path"]),
                        status=status,
                        seconds=round(seconds, 4),
                    )
