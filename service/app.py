"""The API: every part put together."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import Scope

from service.body_limit import BodyLimit, Limit
from service.dependencies import Parts
from service.gauges import Gauges
from service.job_watch import JobWatch
from service.ledger import Ledger
from service.log import configure_logging
from service.observation import Observation, RequestMetrics
from service.openapi import install_openapi, operation_id
from service.problems import install_handlers
from service.queue import JobQueue
from service.redis_client import connect
from service.routes import download, events, fit, formats, generate, generators, health, jobs, page, projects, reports
from service.settings import Settings, get_settings
from service.stop_signal import on_stop_signal
from service.stores import open_store
from service.version import installed_version

_DEFAULT_REDIS = "redis://127.0.0.1:6379/0"
_JSON_BYTES = 64 * 1024
_DESCRIPTION = """Turns 50 or fewer labeled images into a labeled dataset of any size.

1. `POST /projects` with your images, their labels and a `project.json`.
2. `POST /projects/{id}/fit`, if you want to know from `GET /projects/{id}/report` how right the labels will be.
3. `POST /generate` with how many samples you want.
4. Watch `GET /jobs/{id}` (`Prefer: wait=30`) or follow `GET /jobs/{id}/events`.
5. `GET /jobs/{id}/download?format=`.

Every error is `application/problem+json` (RFC 9457) with a stable `type`.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, ready to serve; by default with the settings of the environment.

    Neither Redis nor the store need be reachable yet, except that a file store's directory is made now.
    """
    settings = settings or get_settings()
    configure_logging()
    store = open_store(settings.store_url, settings.s3_endpoint_url, settings.s3_public_endpoint_url)
    redis = connect(settings.redis_url or _DEFAULT_REDIS)
    ledger = Ledger(store, redis, settings.job_ttl_s)
    queue = JobQueue(redis, settings)
    watch, metrics = JobWatch(ledger), RequestMetrics(Gauges(store, ledger, queue))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with on_stop_signal(watch.stop):
            yield
        redis.close()

    # FastAPI's own documentation page is fetched from elsewhere, and stays blank where that cannot be reached.
    app = FastAPIOffline(
        title="labelmint",
        summary="Labeled datasets from few labeled images",
        description=_DESCRIPTION,
        version=installed_version("labelmint") or "0",
        generate_unique_id_function=operation_id,
        lifespan=lifespan,
    )
    app.state.parts = Parts(settings, store, redis, ledger, queue, watch, metrics)
    for part in (page, projects, reports, fit, generate, jobs, events, formats, download, generators, health):
        app.include_router(part.router)
    install_handlers(app)
    install_openapi(app)
    app.add_middleware(BodyLimit, limit_of=_body_limits(settings))
    app.add_middleware(Observation, metrics=metrics)
    return app


def _body_limits(settings: Settings) -> Callable[[Scope], Limit]:
    limits = {
        "/projects": Limit(settings.max_upload_bytes, "LABELMINT_MAX_UPLOAD_BYTES"),
        "/generators": Limit(settings.max_checkpoint_bytes, "LABELMINT_MAX_CHECKPOINT_BYTES"),
    }

    def limit_of(scope: Scope) -> Limit:
        return limits.get(scope["path"].rstrip("/"), Limit(_JSON_BYTES))

    return limit_of
