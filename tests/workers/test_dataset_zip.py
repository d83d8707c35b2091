"""Zips are the same bytes however many processes work on them, and those end with the job."""

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import boto3
import pytest
import redis as redis_client
from rq import Queue
from rq.serializers import JSONSerializer

from service.queue import QUEUE_NAME
from service.records import JobState, dataset_key
from service.requests import DatasetFormat, GenerateRequest, ImageFormat, Split
from service.settings import Settings
from service.stores import FileStore, open_store
from tests.workers.child_work import loaded_modules
from tests.workers.packing import EVERY_KIND, PROJECT, SIDE, PackingWorld, draw
from tests.workers.processes import children_of, wait_for, worker
from workers import process_map as module
from workers.byte_stream import byte_stream
from workers.dataset_zip import dataset_zip
from workers.formats import FORMATS, Description, Enclosures
from workers.package import make_dataset
from workers.process_map import Work, process_map
from workers.tars import PackedSample
from workers.workbench import Cancelled, Workbench

COUNT = 150
WORKED = [layout for layout in DatasetFormat if FORMATS[layout].work is not None]
DESCRIPTION = Description("Shapes & sizes", EVERY_KIND, SIDE, Split(train=0.5, val=0.5))
ENCLOSURES = Enclosures(dict, lambda _: "", lambda: b"")


@pytest.fixture
def world(settings: Settings, redis: redis_client.Redis, store: FileStore) -> PackingWorld:
    return PackingWorld(settings, redis, store)


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little there is to do."""
    monkeypatch.setattr(module, "WORTH_S", 0.0)
    monkeypatch.setattr(module, "usable_cores", lambda: 2)


def samples(image_format: ImageFormat = ImageFormat.PNG) -> list[PackedSample]:
    return [draw(index, EVERY_KIND, image_format).packed for index in range(COUNT)]


def zipped(layout: DatasetFormat, of: list[PackedSample]) -> tuple[bytes, int]:
    """The zip, and how many processes were at work on it."""
    before, at_work, passed = set(children_of(os.getpid())), 0, []

    def look(sample: PackedSample) -> None:
        nonlocal at_work
        at_work = max(at_work, len(set(children_of(os.getpid())) - before))
        passed.append(sample)

    data = b"".join(dataset_zip(FORMATS[layout], iter(of), len(of), DESCRIPTION, ENCLOSURES, look))
    assert passed == of
    return data, at_work


def test_the_formats_that_take_long_are_those_with_work() -> None:
    assert set(WORKED) == {DatasetFormat.COCO, DatasetFormat.YOLO, DatasetFormat.VOC}


@pytest.mark.parametrize("layout", list(DatasetFormat))
@pytest.mark.parametrize("image_format", [ImageFormat.PNG, ImageFormat.JPEG])
def test_the_bytes_are_the_same_inline_and_spread(
    monkeypatch: pytest.MonkeyPatch, layout: DatasetFormat, image_format: ImageFormat
) -> None:
    of = samples(image_format)
    inline, processes = zipped(layout, of)
    assert processes == 0
    monkeypatch.setattr(module, "WORTH_S", 0.0)
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    spread, processes = zipped(layout, of)
    assert processes == (2 if layout in WORKED else 0)
    assert spread == inline


@pytest.mark.parametrize("layout", WORKED)
def test_children_load_neither_torch_nor_what_jobs_need(two_processes: None, layout: DatasetFormat) -> None:
    work = FORMATS[layout].work
    assert work is not None
    function = partial(loaded_modules, work=work(DESCRIPTION))
    pairs = list(process_map(Work(function, lambda sample: sample, lambda _: 1), samples()[:40], COUNT))
    loaded = set(pairs[-1][1])
    assert {"workers.process_map_child", "workers.formats.coco"} <= loaded
    assert not loaded & {"torch", "redis", "rq", "boto3", "workers.process_map"}


def test_a_damaged_mask_is_told_as_if_there_were_one_process(two_processes: None) -> None:
    of = samples()
    of[120] = PackedSample(of[120].facts, of[120].image, "png", b"no mask", of[120].depth)
    with pytest.raises(OSError, match="cannot identify image"):
        zipped(DatasetFormat.COCO, of)


def test_one_that_stops_reading_leaves_no_process(two_processes: None) -> None:
    def many() -> Iterator[PackedSample]:
        while True:
            yield from samples()

    before = set(children_of(os.getpid()))
    chunks = dataset_zip(FORMATS[DatasetFormat.YOLO], many(), 10**6, DESCRIPTION, ENCLOSURES)
    with closing(chunks):
        next(chunks)
        assert len(set(children_of(os.getpid())) - before) == 2
    assert set(children_of(os.getpid())) <= before


@pytest.mark.parametrize("stops", [False, True])
def test_a_store_may_read_in_a_thread_of_its_own(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, two_processes: None, stops: bool
) -> None:
    """Children live and die with the thread that started them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="zips")
    store = open_store("s3://zips", s3_endpoint)
    before, of = set(children_of(os.getpid())), 5 * samples()
    expected = b"".join(dataset_zip(FORMATS[DatasetFormat.COCO], of, len(of), DESCRIPTION, ENCLOSURES))
    seen = []

    def look(sample: PackedSample) -> None:
        seen.append(sample)
        if stops and len(seen) == 300:
            raise Cancelled

    chunks = dataset_zip(FORMATS[DatasetFormat.COCO], of, len(of), DESCRIPTION, ENCLOSURES, look)
    with closing(chunks), pytest.raises(Cancelled) if stops else nullcontext():
        store.put("coco.zip", byte_stream(chunks))
    assert set(children_of(os.getpid())) <= before
    assert store.exists("coco.zip") != stops
    assert stops or store.read("coco.zip") == expected
    store.delete("coco.zip")
    client.delete_bucket(Bucket="zips")


def accepted(world: PackingWorld, job_id: str) -> Workbench:
    """A job with all its shards, the same for every id, to be packed in the formats that have work."""
    bench = world.bench(job_id, GenerateRequest(project_id=PROJECT, count=COUNT, formats=WORKED))
    world.put_shards(job_id, samples(), 1, shard_size=40)
    return bench


def test_a_cancelled_job_leaves_no_process(world: PackingWorld, two_processes: None) -> None:
    bench = accepted(world, "job")
    bench.ledger.start("job")
    bench.ledger.cancel("job")
    before = set(children_of(os.getpid()))
    with pytest.raises(Cancelled):
        make_dataset(bench)
    assert set(children_of(os.getpid())) <= before


def test_a_real_worker_spreads_the_work_of_a_job(
    world: PackingWorld, settings: Settings, redis: redis_client.Redis, tmp_path: Path
) -> None:
    make_dataset(accepted(world, "inline"))
    accepted(world, "spread")
    queue, told = Queue(QUEUE_NAME, connection=redis, serializer=JSONSerializer), tmp_path / "told"
    queue.enqueue_call("tests.workers.bodies.pack_spread", args=("spread", str(told)), timeout=60)
    with worker(settings, tmp_path / "worker.log"):
        wait_for(told.exists, 60, "the part has ended")
    job = world.ledger.get("spread")
    assert job.state is JobState.SUCCEEDED, (job.error, (tmp_path / "worker.log").read_text())
    assert float(told.read_text()) > 0.2
    for layout in WORKED:
        keys = (dataset_key(job_id, f"{layout}.zip") for job_id in ("inline", "spread"))
        one, other = map(world.store.read, keys)
        assert without_card(one) == without_card(other)


def without_card(data: bytes) -> dict[str, bytes]:
    """The members of a zip that name no job."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name not in ("README.md", "dataset.json")}
