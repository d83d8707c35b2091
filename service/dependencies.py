"""What routes ask for by type."""

from dataclasses import dataclass
from typing import Annotated

import redis
from fastapi import Depends, Path, Request

from service.job_watch import JobWatch
from service.ledger import Ledger
from service.observation import RequestMetrics
from service.queue import JobQueue
from service.settings import Settings
from service.stores.protocol import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts one application is made of."""

    settings: Settings
    store: Store
    redis: redis.Redis
    ledger: Ledger
    queue: JobQueue
    watch: JobWatch
    metrics: RequestMetrics


def _parts(request: Request) -> Parts:
    parts = request.app.state.parts
    assert isinstance(parts, Parts)  # noqa: S101
    return parts


def _settings(request: Request) -> Settings:
    return _parts(request).settings


def _store(request: Request) -> Store:
    return _parts(request).store


def _ledger(request: Request) -> Ledger:
    return _parts(request).ledger


def _queue(request: Request) -> JobQueue:
    return _parts(request).queue


def _watch(request: Request) -> JobWatch:
    return _parts(request).watch


PartsDep = Annotated[Parts, Depends(_parts)]
SettingsDep = Annotated[Settings, Depends(_settings)]
StoreDep = Annotated[Store, Depends(_store)]
LedgerDep = Annotated[Ledger, Depends(_ledger)]
QueueDep = Annotated[JobQueue, Depends(_queue)]
WatchDep = Annotated[JobWatch, Depends(_watch)]

ProjectId = Annotated[str, Path(description="the project's id", examples=["k3v9p2m7xq4a"])]
JobId = Annotated[str, Path(description="the job's id", examples=["w8d2n5c6t9rb"])]
GeneratorId = Annotated[str, Path(description="the generator's id", examples=["toy-bears"])]
