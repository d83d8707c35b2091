"""A fitted world, made once, and copies of it for each test."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from models.fitting import FitSettings
from models.inversion.refinement import RefinementSettings
from models.training.settings import TrainingPlan, plan_for
from service.ledger import Ledger
from service.queue import JobQueue
from service.records import JobRecord, upload_key
from service.redis_client import connect
from service.requests import GenerateRequest, TrainRequest
from service.settings import Settings
from service.stores import FileStore
from tests.workers.trainings import zip_of_images
from tests.workers.world import PROJECT, make_world
from workers import generator_train
from workers.labelers import ensure_labeler
from workers.plan import Plan, write_plan
from workers.workbench import Workbench

QUICK_FIT = FitSettings(
    members=3,
    steps=20,
    lessons=0,
    refinement=RefinementSettings(steps=3, lpips_weight=0.0),
    pilots=((1.0, 64),),
    min_psnr_db=0.0,
)
"""A poor labeler in a few seconds."""

NewJob = Callable[..., Workbench]
NewTraining = Callable[..., Workbench]


@pytest.fixture(scope="session")
def fitted_world(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> tuple[Path, str]:
    """A store's folder with a generator, a project and its labeler; and the labeler's fit key."""
    folder = tmp_path_factory.getbasetemp() / "world"
    if folder.exists():  # made for the tests of another room
        return folder / "store", (folder / "key").read_text()
    folder.mkdir()
    store = FileStore(folder / "store")
    make_world(store, folder / "scratch")
    settings = Settings(
        _env_file=None,
        store_url=f"file://{folder / 'store'}",
        redis_url=redis_url,
        data_dir=folder / "data",
        encoder_steps=6,
    )
    connection = connect(redis_url)
    ledger = Ledger(store, connection, 3600)
    ledger.accept(JobRecord(id="fitting", request=GenerateRequest(project_id=PROJECT, count=1)))
    bench = Workbench("fitting", settings, store, connection, ledger, JobQueue(connection, settings))
    key = ensure_labeler(bench, QUICK_FIT)
    ledger.forget("fitting")
    (folder / "key").write_text(key)
    connection.close()
    return folder / "store", key


@pytest.fixture
def new_job(fitted_world: tuple[Path, str], settings: Settings, redis: redis_client.Redis, tmp_path: Path) -> NewJob:
    """`new_job(id, count=…, shard_size=…)` accepts a job on a copy of the fitted world, so that nothing is fitted.

    What else a request may ask for can be given by name.
    """
    template, key = fitted_world
    shutil.copytree(template, tmp_path / "store", dirs_exist_ok=True)
    store = FileStore(tmp_path / "store")
    ledger, queue = Ledger(store, redis, settings.job_ttl_s), JobQueue(redis, settings)

    def accept(job_id: str, count: int, shard_size: int, seed: int = 1, **request: Any) -> Workbench:
        wanted = {"project_id": PROJECT, "count": count, "seed": seed} | request
        job = JobRecord(id=job_id, request=GenerateRequest.model_validate(wanted))
        ledger.accept(job)
        write_plan(store, job_id, Plan(fit_key=key, count=count, shard_size=shard_size))
        return Workbench(job_id, settings, store, redis, ledger, queue)

    return accept


@pytest.fixture
def quick_training(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """A small network, evaluated soon and on few samples."""

    def plan(resolution: int) -> TrainingPlan:
        found = plan_for(resolution)
        architecture = replace(found.architecture, z_dim=16, w_dim=16, mapping_layers=2, channel_max=8)
        return replace(found, architecture=architecture, settings=replace(found.settings, batch=8), snapshot_images=32)

    monkeypatch.setattr(generator_train, "plan_for", plan)
    monkeypatch.setattr("models.training.evaluation.SAMPLES_CPU", 64)
    monkeypatch.setattr("workers.workbench.get_settings", lambda: settings)
    monkeypatch.setattr(generator_train, "PROGRESS_INTERVAL_S", 0.0)
    monkeypatch.setattr(generator_train, "RETRY_AFTER_S", 0.0)
    monkeypatch.setattr("workers.outages.PAUSE_S", 0.0)


@pytest.fixture
def new_training(
    store: FileStore,
    settings: Settings,
    redis: redis_client.Redis,
    quick_training: None,
) -> NewTraining:
    """`new_training(zip, kimg=…)` accepts the training `gen-job`, of 64 images unless told otherwise."""
    ledger = Ledger(store, redis, 3600)

    def accept(data: bytes | None = None, **changes: object) -> Workbench:
        data = zip_of_images() if data is None else data
        sha256 = hashlib.sha256(data).hexdigest()
        store.put(upload_key(sha256), data)
        wanted = {"generator_id": "mine", "name": "Mine", "sha256": sha256, "resolution": 32, "kimg": 0.064}
        ledger.accept(JobRecord(id="gen-job", request=TrainRequest.model_validate(wanted | changes)))
        return Workbench("gen-job", settings, store, redis, ledger, JobQueue(redis, settings))

    return accept
