"""Packaging: the dataset is exactly what was asked for, or there is none; and memory stays flat."""

import io
import tracemalloc

import numpy as np
import pytest

from service.records import JobState, dataset_key, shard_key
from tests.workers.conftest import NewJob
from tests.workers.world import CLASSES, SIZE
from workers.package import make_dataset
from workers.png import image_png, mask_png, palette
from workers.public_errors import JobFailure
from workers.tars import PackedSample, SampleFacts, ShardWriter
from workers.workbench import Workbench

RNG = np.random.default_rng(3)
MASK = mask_png(np.zeros((SIZE, SIZE), np.uint8), palette(CLASSES))


def put_shard(bench: Workbench, shard: int, indices: list[int], side: int = SIZE) -> None:
    image = image_png(RNG.integers(0, 256, (side, side, 3), np.uint8))
    stream = io.BytesIO()
    with ShardWriter(stream) as tar:
        for index in indices:
            tar.add(PackedSample(SampleFacts(index, 0.1, [SIZE * SIZE, 0, 0]), image, MASK))
    bench.store.put(shard_key(bench.job_id, shard), stream.getvalue())


def test_memory_stays_flat(new_job: NewJob) -> None:
    """3,000 samples of 200 kB: a zip of 600 MB, in a small part of that."""
    bench = new_job("job", count=3000, shard_size=300)
    for shard in range(10):
        put_shard(bench, shard, list(range(shard * 300, (shard + 1) * 300)), side=256)
    tracemalloc.start()
    make_dataset(bench)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bench.store.size(dataset_key("job", "png.zip")) > 500 * 10**6
    assert peak < 24 * 2**20


@pytest.mark.parametrize("indices", [[4, 5, 6], [4, 5, 6, 6], [4, 6, 5, 7], [4, 5, 6, 8], [4, 5, 6, 7, 8], []])
def test_a_shard_with_other_samples_than_planned_is_refused(new_job: NewJob, indices: list[int]) -> None:
    bench = new_job("job", count=8, shard_size=4)
    put_shard(bench, 0, [0, 1, 2, 3])
    put_shard(bench, 1, indices)
    with pytest.raises(JobFailure) as refusal:
        make_dataset(bench)
    assert refusal.value.error.code == "shard-damaged"
    assert not bench.store.exists(dataset_key("job", "png.zip"))
    assert bench.ledger.get("job").state is JobState.QUEUED


def test_a_dataset_that_is_there_is_not_made_again(new_job: NewJob) -> None:
    """As when the worker died between storing the dataset and saying so."""
    bench = new_job("job", count=4, shard_size=4)
    put_shard(bench, 0, [0, 1, 2, 3])
    make_dataset(bench)
    before = list(bench.store.list(dataset_key("job", "png.zip")))
    bench.store.delete(shard_key("job", 0))
    make_dataset(bench)
    assert list(bench.store.list(dataset_key("job", "png.zip"))) == before
    assert bench.ledger.get("job").state is JobState.SUCCEEDED
