"""What the tests of formats share."""

import os

import pytest
import redis as redis_client

from service.settings import Settings
from service.stores import FileStore
from tests.workers.packing import PackingWorld

# Read when `datasets` is imported; without them it asks its hub about every folder.
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


@pytest.fixture
def packing_world(settings: Settings, redis: redis_client.Redis, store: FileStore) -> PackingWorld:
    """A store with a project of every label kind, whose jobs are packed without a network."""
    return PackingWorld(settings, redis, store)
