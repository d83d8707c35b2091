"""Jobs whose datasets carry the project's seeds: on real workers, later on, again, and of old."""

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis as redis_client
from PIL import Image

from labelmint.verify import DatasetBroken, verify_png_zip
from models.bears.upload import KINDS
from service.records import JobRecord, JobState, ProjectRecord, dataset_key, shard_key
from service.requests import DatasetFormat, GenerateRequest, ImageFormat, PackageRequest
from service.settings import Settings
from service.stores import FileStore
from service.stores.protocol import ObjectMissing
from tests.workers.conftest import NewJob
from tests.workers.packing import EVERY_KIND, PackingWorld, draw
from tests.workers.processes import wait_for, worker
from tests.workers.seeded import SIZES, STEMS, drawn, expected, made, packed, upload
from tests.workers.test_seeds import bears
from tests.workers.world import PROJECT, SEEDS, SIZE
from workers.package import make_dataset
from workers.plan import Plan, read_plan, write_plan
from workers.public_errors import public_error
from workers.seed_samples import seed_samples
from workers.workbench import Workbench

ALL = list(DatasetFormat)


@pytest.fixture
def packing(settings: Settings, redis: redis_client.Redis, store: FileStore) -> PackingWorld:
    return PackingWorld(settings, redis, store)


def has_succeeded(bench: Workbench) -> bool:
    job = bench.ledger.get(bench.job_id)
    assert job.error is None
    return job.state is JobState.SUCCEEDED


def including(bench: Workbench, job_id: str, shard_size: int) -> Workbench:
    """A job like that of `bench`, with the seeds."""
    request = bench.job.generate.model_copy(update={"include_seeds": True})
    plan = read_plan(bench.store, bench.job_id)
    assert plan is not None
    bench.ledger.accept(JobRecord(id=job_id, request=request))
    write_plan(bench.store, job_id, Plan(fit_key=plan.fit_key, count=request.count, shard_size=shard_size))
    return Workbench(job_id, bench.settings, bench.store, bench.redis, bench.ledger, bench.queue)


def members(bench: Workbench, layout: str = "png", job_id: str | None = None) -> dict[str, bytes]:
    key = bench.ledger.get(job_id or bench.job_id).outputs[layout]
    with zipfile.ZipFile(io.BytesIO(bench.store.read(key))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def mask_of(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def test_a_worker_adds_the_seeds_and_changes_nothing_else(
    new_job: NewJob, packing: PackingWorld, settings: Settings, tmp_path: Path
) -> None:
    """However the job is cut, whatever the labels are, and in formats asked for later as well."""
    plain = new_job("plain", count=30, shard_size=30)
    one, other = including(plain, "one", shard_size=8), including(plain, "other", shard_size=30)
    later = PackageRequest(job_id="one", project_id=PROJECT, formats=[DatasetFormat.HUGGINGFACE])
    again = Workbench("again", plain.settings, plain.store, plain.redis, plain.ledger, plain.queue)
    every_kind = made(packing, upload(packing), "every-kind", count=6)
    jobs = (plain, one, other, every_kind)
    with worker(settings, tmp_path / "worker.log"):
        for bench in jobs:
            bench.queue.enqueue_fit(bench.job_id)
        for bench in jobs:
            wait_for(lambda bench=bench: has_succeeded(bench), 90, "the job has succeeded")  # type: ignore[misc]
        again.ledger.accept(JobRecord(id="again", request=later))
        again.queue.enqueue_package("again")
        wait_for(lambda: has_succeeded(again), 60, "the other format is there")
    check_labels(members(every_kind), 6)
    digests = [hashlib.sha256(bench.store.read(dataset_key(bench.job_id, "png.zip"))) for bench in (one, other)]
    assert digests[0].hexdigest() == digests[1].hexdigest()
    before, after = members(plain), members(one)
    lines = [data["metadata.jsonl"].splitlines() for data in (before, after)]
    assert (lines[1][:30], len(lines[1])) == (lines[0], 30 + SEEDS)
    for name in before.keys() - {"metadata.jsonl", "dataset.json", "README.md"}:
        assert before[name] == after[name]
    packed_later = members(one, "huggingface")
    for number in range(SEEDS):
        stored = [
            one.store.read(ProjectRecord.seed_key(PROJECT, number, file)) for file in ("image.png", "segmentation.png")
        ]
        for folder in ("", "train/"):
            data = packed_later if folder else after
            for kind, file in zip(("images", "masks"), stored, strict=True):
                assert (mask_of(data[f"{folder}{kind}/seed_{number:04d}.png"]) == mask_of(file)).all()
    path = tmp_path / "dataset.zip"
    path.write_bytes(plain.store.read(dataset_key("one", "png.zip")))
    contents = verify_png_zip(path, 30)
    assert (contents.samples, contents.seeds, contents.size) == (30, SEEDS, (SIZE, SIZE))
    progress = one.ledger.get("one").progress
    assert (progress.done, progress.total) == (30 + SEEDS, 30 + SEEDS)
    manifest = json.loads(one.store.read(dataset_key("one", "manifest.json")))
    assert (manifest["count"], manifest["seeds"]) == (30, SEEDS)


def check_labels(data: dict[str, bytes], count: int) -> None:
    """The seeds in a `png` zip are those of `upload`, pixel by pixel and digit by digit."""
    rows = [json.loads(line) for line in data["metadata.jsonl"].splitlines()][count:]
    for stem, row, seed in zip(STEMS, rows, expected(), strict=True):
        assert row["file_name"] == f"images/{stem}.png"
        assert (mask_of(data[f"images/{stem}.png"]) == seed.image).all()
        assert (mask_of(data[f"masks/{stem}.png"]) == seed.mask).all()
        assert (mask_of(data[f"depth/{stem}.png"]) == seed.steps).all()
        assert row["attributes"] == seed.attributes
        assert [tuple(point) for point in row["keypoints"]] == seed.points


@pytest.mark.parametrize("kinds", [[kind] for kind in KINDS] + [["segmentation", "class"]], ids="+".join)
def test_seeds_have_the_labels_of_their_project_and_no_others(store: FileStore, kinds: list[str]) -> None:
    project = bears(store, tuple(kinds))
    samples = list(seed_samples(store, project, ImageFormat.WEBP, 0))
    assert [sample.facts.stem for sample in samples] == STEMS
    for sample in samples:
        facts = sample.facts
        there = [sample.mask, facts.keypoints, sample.depth, facts.attributes]
        assert [label is not None for label in there] == [kind in kinds for kind in KINDS]
        assert (facts.class_pixels is not None) == ("segmentation" in kinds)
        assert (sample.image_suffix, sample.image[8:12]) == ("webp", b"WEBP")


def test_seeds_are_neither_augmented_nor_multiplied(packing: PackingWorld) -> None:
    steps = [{"name": "RGBShift", "p": 1.0}, {"name": "HorizontalFlip", "p": 1.0}]
    job = packed(packing, count=4, multiply=3, augment=steps, formats=["coco"])
    bench = packing.bench("reader", GenerateRequest(project_id=job.project_id or "", count=1))
    data = members(bench, "coco", "job")
    images = json.loads(data["annotations/instances_train.json"])["images"]
    found = [(row["id"], row["origin"], row["source"], row["version"]) for row in images]
    assert found[:12] == [(index, "generated", *divmod(index, 3)) for index in range(12)]
    assert found[12:] == [(12 + number, "seed", number, 0) for number in range(len(SIZES))]
    for stem, seed in zip(STEMS, expected(), strict=True):
        assert (mask_of(data[f"images/train/{stem}.png"]) == seed.image).all()


def test_formats_asked_for_later_are_those_asked_for_at_once(packing: PackingWorld) -> None:
    project = upload(packing)
    split = {"train": 0.5, "val": 0.5}
    make_dataset(made(packing, project, "at-once", formats=ALL, split=split))
    make_dataset(made(packing, project, split=split))
    source = packing.ledger.get("job")
    request = PackageRequest(job_id="job", project_id=project.id, formats=ALL[1:], split=source.generate.split)
    make_dataset(packing.bench("again", request))
    outputs = packing.ledger.get("job").outputs
    for layout in ALL:
        assert packing.store.read(outputs[layout]) == packing.store.read(dataset_key("at-once", f"{layout}.zip"))


def test_a_job_of_old_is_packed_as_before(packing: PackingWorld) -> None:
    """Its record does not speak of seeds, nor its shards of where a sample comes from."""
    project = upload(packing)
    bench = made(packing, project, count=3, include_seeds=False)
    record = json.loads(packing.store.read(JobRecord.key("job")))
    del record["request"]["include_seeds"]
    packing.store.put(JobRecord.key("job"), json.dumps(record).encode())
    stream = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(packing.store.read(shard_key("job", 0)))) as new,
        tarfile.open(fileobj=stream, mode="w") as old,
    ):
        for info in new.getmembers():
            file = new.extractfile(info)
            assert file is not None
            data = file.read()
            if info.name.endswith(".json"):
                facts = json.loads(data)
                assert facts.pop("origin") == "generated"
                data = json.dumps(facts).encode()
            info.size = len(data)
            old.addfile(info, io.BytesIO(data))
    packing.store.put(shard_key("job", 0), stream.getvalue())
    make_dataset(bench)
    data = members(bench)
    assert [json.loads(line)["origin"] for line in data["metadata.jsonl"].splitlines()] == ["generated"] * 3
    assert json.loads(data["dataset.json"])["included_seeds"] == []


def test_a_seed_that_is_gone_fails_the_job_with_words(packing: PackingWorld) -> None:
    project = upload(packing)
    packing.store.delete(ProjectRecord.seed_key(project.id, 2, "depth.png"))
    bench = made(packing, project, count=2)
    with pytest.raises(ObjectMissing) as failure:
        make_dataset(bench)
    assert public_error(failure.value).code == "object-missing"
    assert not packing.store.exists(dataset_key("job", "png.zip"))


class Recording:
    """A store that remembers what was read of it."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self.read_keys: list[str] = []

    def read(self, key: str) -> bytes:
        self.read_keys.append(key)
        return self._store.read(key)


def test_one_seed_is_read_at_a_time(packing: PackingWorld) -> None:
    project = upload(packing)
    store = Recording(packing.store)
    samples = seed_samples(store, project, ImageFormat.PNG, 100)  # type: ignore[arg-type]
    for number in range(len(SIZES)):
        assert next(samples).facts.index == 100 + number
        assert {key.split("/")[3] for key in store.read_keys} == {str(number)}
        store.read_keys.clear()
    assert next(samples, None) is None


def origin_wrong(data: dict[str, bytes]) -> None:
    data["metadata.jsonl"] = data["metadata.jsonl"].replace(b'"origin": "seed"', b'"origin": "generated"', 1)


def sample_marked_as_seed(data: dict[str, bytes]) -> None:
    data["metadata.jsonl"] = data["metadata.jsonl"].replace(b'"origin": "generated"', b'"origin": "seed"', 1)


def seed_in_another_part(data: dict[str, bytes]) -> None:
    head, _, tail = data["metadata.jsonl"].rpartition(b'"split": "train"')
    data["metadata.jsonl"] = head + b'"split": "val"' + tail


def seed_missing(data: dict[str, bytes]) -> None:
    data["metadata.jsonl"] = data["metadata.jsonl"].rstrip().rpartition(b"\n")[0]


def mask_of_a_seed_wrong(data: dict[str, bytes]) -> None:
    data["masks/seed_0001.png"] = data["masks/seed_0000.png"]


@pytest.mark.parametrize(
    "damage", [None, origin_wrong, sample_marked_as_seed, seed_in_another_part, seed_missing, mask_of_a_seed_wrong]
)
def test_what_is_wrong_with_the_seeds_is_noticed(
    packing: PackingWorld, tmp_path: Path, damage: Callable[[dict[str, bytes]], None] | None
) -> None:
    bench = made(packing, upload(packing), count=5)
    make_dataset(bench)
    data = members(bench)
    if damage is not None:
        damage(data)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in data.items():
            archive.writestr(name, content)
    if damage is None:
        contents = verify_png_zip(path, 5)
        uncertainties = [entry.packed.facts.uncertainty for entry in drawn(bench.job.generate)]
        assert (contents.samples, contents.seeds) == (5, 3)
        assert contents.mean_uncertainty == pytest.approx(np.mean(uncertainties))
        pixels = np.stack([draw(index, EVERY_KIND).labels.mask for index in range(5)])
        assert contents.classes[1].share_of_pixels == (pixels == 1).sum() / (pixels != 255).sum()
    else:
        with pytest.raises(DatasetBroken):
            verify_png_zip(path, 5)
