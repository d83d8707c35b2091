"""Packaging: the dataset is exactly what was asked for, or there is none; and memory stays flat."""

import json
import tracemalloc
import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import redis as redis_client

from service.dataset_formats import zip_key
from service.label_schema import LabelSchema
from service.ledger import Ledger
from service.records import JobState, Phase, dataset_key, shard_key
from service.requests import DatasetFormat, GenerateRequest, PackageRequest, Split
from service.settings import Settings
from service.stores import FileStore
from tests.workers.packing import EVERY_KIND, PROJECT, SIDE, PackingWorld, draw
from workers.formats import FORMATS, Description, Enclosures
from workers.package import make_dataset
from workers.plan import Plan, write_plan
from workers.png import image_png
from workers.public_errors import JobFailure
from workers.tars import PackedSample, SampleFacts, ShardWriter, blocks_of
from workers.workbench import Cancelled, Workbench

ALL = list(DatasetFormat)
SPLIT = Split(train=0.5, val=0.5)


@pytest.fixture
def world(settings: Settings, redis: redis_client.Redis, store: FileStore) -> PackingWorld:
    return PackingWorld(settings, redis, store)


def request(count: int, formats: list[DatasetFormat] | None = None, split: Split | None = None) -> GenerateRequest:
    return GenerateRequest(project_id=PROJECT, count=count, formats=formats or [DatasetFormat.PNG], split=split)


def again(world: PackingWorld, formats: list[DatasetFormat], split: Split | None = None) -> Workbench:
    wanted = PackageRequest(job_id="job", project_id=PROJECT, formats=formats, split=split)
    return world.bench(f"again-{len(list(world.ledger.list()))}", wanted)


def put_shard(bench: Workbench, shard: int, indices: list[int], versions: int = 1) -> None:
    stream = BytesIO()
    with ShardWriter(stream) as tar:
        for index in indices:
            tar.add(blocks_of(draw(index, EVERY_KIND, versions=versions).packed))
    bench.store.put(shard_key(bench.job_id, shard), stream.getvalue())


def planned(world: PackingWorld, count: int, shard_size: int, **wanted: object) -> Workbench:
    bench = world.bench("job", GenerateRequest.model_validate({"project_id": PROJECT, "count": count, **wanted}))
    write_plan(world.store, "job", Plan(fit_key="fit", count=count, shard_size=shard_size))
    return bench


def test_all_formats_come_of_one_set_of_shards(world: PackingWorld) -> None:
    job, _ = world.packed(request(20, ALL, SPLIT))
    assert job.outputs == {layout: dataset_key("job", f"{layout}.zip") for layout in ALL}
    manifest = json.loads(world.store.read(dataset_key("job", "manifest.json")))
    assert manifest["formats"].keys() == set(ALL)
    for entry in [*manifest["formats"].values(), *manifest["shards"], manifest["card"], manifest["preview"]]:
        assert world.store.size(entry["key"]) == entry["bytes"]
    for layout in ALL:
        with zipfile.ZipFile(BytesIO(world.store.read(job.outputs[layout]))) as archive:
            facts = json.loads(archive.read("dataset.json"))
            assert (facts["count"], sum(facts["split"].values())) == (20, 20)
            assert archive.read("preview.png") == world.store.read(dataset_key("job", "preview.png"))
    progress = world.ledger.get("job").progress
    assert (job.phase, progress.done, progress.total) == (Phase.PACKAGE, 20 * len(ALL), 20 * len(ALL))


def test_the_same_request_gives_the_same_bytes(world: PackingWorld) -> None:
    one, _ = world.packed(request(9, ALL, SPLIT), job_id="one")
    other, _ = world.packed(request(9, ALL, SPLIT), job_id="other")
    for layout in ALL:
        assert world.store.read(one.outputs[layout]) == world.store.read(other.outputs[layout])


def test_formats_asked_for_later_are_those_asked_for_at_once(world: PackingWorld) -> None:
    at_once, _ = world.packed(request(9, ALL, SPLIT), job_id="at-once")
    world.packed(request(9, [DatasetFormat.PNG], SPLIT))
    bench = again(world, [DatasetFormat.COCO, DatasetFormat.YOLO], SPLIT)
    make_dataset(bench)
    source, packer = world.ledger.get("job"), world.ledger.get(bench.job_id)
    assert (packer.state, packer.outputs.keys()) == (JobState.SUCCEEDED, {"coco", "yolo"})
    assert source.outputs.keys() == {"png", "coco", "yolo"}
    for layout in ("coco", "yolo"):
        assert source.outputs[layout] == packer.outputs[layout]
        assert world.store.read(source.outputs[layout]) == world.store.read(at_once.outputs[layout])
    manifest = json.loads(world.store.read(dataset_key("job", "manifest.json")))
    assert manifest["formats"].keys() == {"png", "coco", "yolo"}


@pytest.mark.parametrize("deleted", ["voc.zip", "card.md", "preview.png"])
def test_the_manifest_leaves_out_what_was_deleted(world: PackingWorld, deleted: str) -> None:
    world.packed(request(9, [DatasetFormat.PNG, DatasetFormat.VOC]))
    world.store.delete(dataset_key("job", deleted))
    bench = again(world, [DatasetFormat.COCO])
    make_dataset(bench)
    assert bench.ledger.get(bench.job_id).state is JobState.SUCCEEDED
    manifest = json.loads(world.store.read(dataset_key("job", "manifest.json")))
    entries = [*manifest["formats"].values(), manifest.get("card"), manifest.get("preview")]
    named = {entry["key"].rpartition("/")[2] for entry in entries if entry is not None}
    assert named == {"png.zip", "voc.zip", "coco.zip", "card.md", "preview.png"} - {deleted}


def test_a_format_that_is_there_is_left_as_it_is(world: PackingWorld) -> None:
    world.packed(request(9, ALL, SPLIT))
    before = {row.key: row.modified for row in world.store.list("datasets/job/") if row.key.endswith(".zip")}
    bench = again(world, ALL, SPLIT)
    make_dataset(bench)
    assert {row.key: row.modified for row in world.store.list("datasets/job/") if row.key.endswith(".zip")} == before
    assert bench.ledger.get(bench.job_id).state is JobState.SUCCEEDED


def test_another_split_makes_a_zip_of_its_own_and_never_a_second_one(world: PackingWorld) -> None:
    job, _ = world.packed(request(12))
    make_dataset(again(world, [DatasetFormat.COCO], SPLIT))
    key = world.ledger.get("job").outputs["coco"]
    assert key == zip_key(job, DatasetFormat.COCO, SPLIT) != dataset_key("job", "coco.zip")
    with zipfile.ZipFile(BytesIO(world.store.read(key))) as archive:
        assert json.loads(archive.read("dataset.json"))["split"] == {"train": 6, "val": 6}
    for split in (None, Split(train=0.9, val=0.1)):
        with pytest.raises(JobFailure, match="download it as it is: /jobs/job/download\\?format=coco") as refusal:
            make_dataset(again(world, [DatasetFormat.COCO], split))
        assert refusal.value.error.code == "format-exists"
    assert world.ledger.get("job").outputs["coco"] == key


def test_of_two_splits_at_once_the_first_one_stays(world: PackingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.packed(request(12))
    late = again(world, [DatasetFormat.VOC])
    add_outputs = late.ledger.add_outputs

    def overtaken(job_id: str, outputs: dict[str, str]) -> object:
        monkeypatch.undo()
        make_dataset(again(world, [DatasetFormat.VOC], SPLIT))
        return add_outputs(job_id, outputs)

    monkeypatch.setattr(late.ledger, "add_outputs", overtaken)
    with pytest.raises(JobFailure, match="download it as it is: /jobs/job/download\\?format=voc"):
        make_dataset(late)
    source = world.ledger.get("job")
    assert source.outputs["voc"] == zip_key(source, DatasetFormat.VOC, SPLIT)


@pytest.mark.parametrize("indices", [[4, 5, 6], [4, 5, 6, 6], [4, 6, 5, 7], [4, 5, 6, 8], [4, 5, 6, 7, 8], []])
def test_a_shard_with_other_samples_than_planned_is_refused(world: PackingWorld, indices: list[int]) -> None:
    bench = planned(world, count=8, shard_size=4)
    put_shard(bench, 0, [0, 1, 2, 3])
    put_shard(bench, 1, indices)
    with pytest.raises(JobFailure) as refusal:
        make_dataset(bench)
    assert refusal.value.error.code == "shard-damaged"
    assert not bench.store.exists(dataset_key("job", "png.zip"))
    assert bench.ledger.get("job").state is not JobState.SUCCEEDED


def test_every_version_of_a_sample_has_to_be_there(world: PackingWorld) -> None:
    bench = planned(world, count=2, shard_size=2, multiply=2, augment=[{"name": "HorizontalFlip"}])
    put_shard(bench, 0, [0, 1, 2], versions=2)
    with pytest.raises(JobFailure, match="Shard 0"):
        make_dataset(bench)


def test_a_lost_shard_is_told(world: PackingWorld) -> None:
    world.packed(request(9))
    world.store.delete(shard_key("job", 1))
    with pytest.raises(JobFailure, match="Shard 1 is gone") as refusal:
        make_dataset(again(world, [DatasetFormat.YOLO]))
    assert (refusal.value.error.code, refusal.value.error.retry) == ("dataset-gone", False)


def test_a_dataset_that_is_there_is_not_made_again(world: PackingWorld) -> None:
    """As when the worker died between storing the dataset and saying so."""
    bench = planned(world, count=4, shard_size=4)
    put_shard(bench, 0, [0, 1, 2, 3])
    bench.ledger.succeed = lambda *_: None  # type: ignore[method-assign]
    make_dataset(bench)
    del bench.ledger.succeed
    before = list(bench.store.list(dataset_key("job", "png.zip")))
    make_dataset(bench)
    assert list(bench.store.list(dataset_key("job", "png.zip"))) == before
    assert bench.ledger.get("job").state is JobState.SUCCEEDED


def test_a_packaging_that_died_halfway_is_begun_anew(world: PackingWorld) -> None:
    bench = planned(world, count=4, shard_size=4, formats=["png", "coco"])
    put_shard(bench, 0, [0, 1, 2, 3])
    bench.store.put(dataset_key("job", "png.zip"), b"of the first attempt, whole, but its card was never written")
    make_dataset(bench)
    with zipfile.ZipFile(BytesIO(bench.store.read(dataset_key("job", "png.zip")))) as archive:
        assert json.loads(archive.read("dataset.json"))["count"] == 4
    assert "4 generated images" in bench.store.read(dataset_key("job", "card.md")).decode()


def test_packing_can_be_cancelled(world: PackingWorld) -> None:
    world.packed(request(9))
    bench = again(world, [DatasetFormat.COCO])
    bench.ledger.start(bench.job_id)
    bench.ledger.cancel(bench.job_id)
    with pytest.raises(Cancelled):
        make_dataset(bench)
    assert "coco" not in world.ledger.get("job").outputs
    assert not world.store.exists(dataset_key("job", "coco.zip"))


def test_a_job_that_packs_again_is_running(world: PackingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.packed(request(9))
    bench = again(world, [DatasetFormat.COCO])
    seen: list[tuple[JobState, bool]] = []
    advance = Ledger.advance

    def watched(ledger: Ledger, job_id: str, done: int) -> None:
        advance(ledger, job_id, done)
        job = ledger.get(job_id)
        seen.append((job.state, job.started is not None))

    monkeypatch.setattr(Ledger, "advance", watched)
    make_dataset(bench)
    assert set(seen) == {(JobState.RUNNING, True)}
    assert bench.ledger.get(bench.job_id).started is not None


def test_packing_that_is_cancelled_at_its_end_adds_nothing(world: PackingWorld) -> None:
    world.packed(request(9))
    bench = again(world, [DatasetFormat.COCO])
    put = bench.store.put

    def cancelled_meanwhile(key: str, data: Any) -> int:
        size = put(key, data)
        if key.endswith("coco.zip"):
            bench.ledger.cancel(bench.job_id)
        return size

    bench.store.put = cancelled_meanwhile  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        make_dataset(bench)
    del bench.store.put
    assert world.store.exists(dataset_key("job", "coco.zip"))
    assert "coco" not in world.ledger.get("job").outputs


class Watched(bytes):
    """Bytes that are counted while they live."""

    alive = 0

    def __del__(self) -> None:
        Watched.alive -= 1


@pytest.mark.parametrize("layout", ALL)
def test_samples_are_let_go_as_they_pass(layout: DatasetFormat) -> None:
    """Of 300 samples a few are alive at any time, and what is written about them waits on disk."""
    template = draw(0, EVERY_KIND).packed
    most, memory = 0, []

    def samples() -> Iterator[PackedSample]:
        nonlocal most
        for index in range(300):
            image = Watched(template.image)
            Watched.alive += 1
            most = max(most, Watched.alive)
            facts = SampleFacts(index, index, 0, 0.1, {}, [SIDE * SIDE, 0, 0, 0], template.facts.keypoints, [0, 1])
            yield PackedSample(facts, image, "png", template.mask, template.depth)
            if index in (50, 299):
                memory.append(tracemalloc.get_traced_memory()[0])

    enclosures = Enclosures(dict, lambda _: "", lambda: b"")
    description = Description("Shapes", EVERY_KIND, SIDE, SPLIT)
    tracemalloc.start()
    work = FORMATS[layout].work
    made = work(description) if work is not None else lambda sample: None
    worked = ((sample, made(sample)) for sample in samples())
    size = sum(member.size for member in FORMATS[layout].members(worked, description, enclosures))
    tracemalloc.stop()
    assert size > 300 * len(template.image) / 2
    assert 0 < most < 5
    assert memory[1] < memory[0] + 2**16


def test_memory_stays_flat(world: PackingWorld) -> None:
    """800 samples of 200 kB: a zip of 160 MB, in a small part of that."""
    world.put_project(LabelSchema(attributes=EVERY_KIND.attributes))
    bench = planned(world, count=800, shard_size=160)
    image = image_png(np.random.default_rng(3).integers(0, 256, (256, 256, 3), np.uint8))
    for shard in range(5):
        stream = BytesIO()
        with ShardWriter(stream) as tar:
            for index in range(shard * 160, (shard + 1) * 160):
                tar.add(blocks_of(PackedSample(SampleFacts(index, index, 0, 0.1, {}, attributes=[0, 0]), image)))
        bench.store.put(shard_key("job", shard), stream.getvalue())
    del stream
    tracemalloc.start()
    make_dataset(bench)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bench.store.size(dataset_key("job", "png.zip")) > 150 * 10**6
    assert peak < 24 * 2**20


@pytest.mark.parametrize(("count", "title"), [(1, ": 1 sample"), (2, ": 2 samples")])
def test_a_preview_tells_how_many_samples_there_are(
    count: int, title: str, world: PackingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    monkeypatch.setattr("workers.package.preview_png", lambda _samples, _schema, title: titles.append(title) or b"")
    bench = planned(world, count, count)
    put_shard(bench, 0, list(range(count)))
    make_dataset(bench)
    assert titles[0].endswith(title)
