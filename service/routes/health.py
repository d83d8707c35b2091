"""`/healthz`, `/readyz`, `/metrics`: for whoever runs the service."""

import asyncio
from typing import Literal

import redis
import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from service.dependencies import Parts, PartsDep
from service.gauges import answer_of
from service.openapi import problems
from service.problems import RETRY_AFTER_S, Complaint, Problem
from service.stores.protocol import StoreUnavailable

router = APIRouter(tags=["health"])
_log = structlog.get_logger(__name__)


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Everything the service needs can be reached."""

    status: Literal["ready"] = "ready"
    store: Literal["ok"] = "ok"
    redis: Literal["ok"] = "ok"


@router.get("/healthz", summary="Liveness")
async def health() -> Health:
    """200 as long as the process answers."""
    # Not in one of the threads that other answers may keep waiting for Redis or the store, all of them.
    return Health()


@router.get("/readyz", summary="Readiness", responses=problems(503))
def readiness(parts: PartsDep) -> Readiness:
    """200 if the object store and Redis can be reached; 503 names the ones that cannot."""
    if errors := faults(parts):
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        raise Problem(503, "not-ready", "Not ready", "See errors for what cannot be reached.", errors, headers)
    return Readiness()


@router.get("/metrics", summary="Metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Requests, durations, jobs by state, workers, parts that wait for one, and whether Redis and the store answer, in
    Prometheus' text format; without what only Redis knows while that is down."""
    # Nor is this done in one of those threads: now is when somebody wants to know.
    parts = request.app.state.parts
    return Response(await asyncio.to_thread(generate_latest, parts.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def faults(parts: Parts) -> list[Complaint]:
    """The object store and Redis, each if it cannot be reached now."""
    errors = []
    try:
        answer_of(parts.store)
    except StoreUnavailable as error:
        _log.error("store unavailable", reason=str(error))
        errors.append(Complaint(field="store", message="the object store cannot be reached"))
    try:
        parts.queue.ping()
    except redis.RedisError as error:
        _log.error("redis unavailable", reason=str(error))
        errors.append(Complaint(field="redis", message="Redis cannot be reached"))
    return errors
