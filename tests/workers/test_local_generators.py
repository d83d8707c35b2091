"""Generators in the store, and their copies on a worker's disk."""

import os
import shutil
import time
from pathlib import Path

import pytest

from models.checkpoint import load_tensors, save_tensors
from service.records import GeneratorRecord
from service.stores import FileStore
from tests.workers.world import GENERATOR, write_generator
from workers import local_generators
from workers.local_generators import KEPT_UNUSED_S, WEIGHTS, file_digests, local_generator
from workers.public_errors import JobFailure
from workers.publish import publish_generator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_generator(tmp_path / GENERATOR)
    return tmp_path / GENERATOR


def fetch(store: FileStore, record: GeneratorRecord, cache: Path) -> Path:
    with local_generator(store, record, cache) as folder:
        return folder


@pytest.fixture
def record(store: FileStore, folder: Path) -> GeneratorRecord:
    return publish_generator(store, folder, GENERATOR, "Tiny", "trained")


def test_a_published_generator_can_be_fetched(
    store: FileStore, folder: Path, record: GeneratorRecord, tmp_path: Path
) -> None:
    assert (record.id, record.resolution, record.num_ws, record.has_encoder) == (GENERATOR, 16, 6, False)
    copy = fetch(store, record, tmp_path / "cache")
    assert file_digests(copy) == file_digests(folder)
    assert file_digests(copy)["weights.safetensors"] == record.sha256


def test_it_is_downloaded_once(store: FileStore, record: GeneratorRecord, tmp_path: Path) -> None:
    copy = fetch(store, record, tmp_path / "cache")
    (copy / "mark").touch()
    assert fetch(store, record, tmp_path / "cache") == copy
    assert (copy / "mark").exists()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [copy.name]


def test_publishing_it_again_changes_nothing(store: FileStore, folder: Path, record: GeneratorRecord) -> None:
    before = list(store.list("generators/"))
    assert publish_generator(store, folder, GENERATOR, "Tiny", "trained") == record
    assert list(store.list("generators/")) == before


def test_a_new_version_is_published_and_fetched(
    store: FileStore, folder: Path, record: GeneratorRecord, tmp_path: Path
) -> None:
    old = fetch(store, record, tmp_path / "cache")
    (folder / "provenance.json").write_text('{"command": "another one"}')
    newer = publish_generator(store, folder, GENERATOR, "Tiny", "trained")
    assert newer.provenance == {"command": "another one"}
    assert fetch(store, newer, tmp_path / "cache") != old


def test_what_was_learnt_of_other_weights_is_forgotten(
    store: FileStore, folder: Path, record: GeneratorRecord, tmp_path: Path
) -> None:
    encoder = f"generators/{GENERATOR}/encoder.safetensors"
    drawn = f"generators/{GENERATOR}/samples-0.35.png"
    known = record.model_copy(update={"has_encoder": True, "provenance": {"encoder": {"seconds": 1}}})
    store.put(GeneratorRecord.key(GENERATOR), known.model_dump_json().encode())
    for key in (encoder, drawn):
        store.put(key, b"-")
    again = publish_generator(store, folder, GENERATOR, "Another name", "trained")
    assert (again.name, again.has_encoder, again.provenance) == ("Another name", True, known.provenance)
    assert store.exists(encoder)
    assert store.exists(drawn)

    tensors, facts = load_tensors(folder / "weights.safetensors", "generator")
    tensors["mapping.w_avg"] += 1
    save_tensors(folder / "weights.safetensors", tensors, "generator", facts)
    assert not publish_generator(store, folder, GENERATOR, "Tiny", "trained").has_encoder
    assert not store.exists(encoder)
    assert not store.exists(drawn)
    assert store.exists(f"generators/{GENERATOR}/samples-0.70.png")


def test_what_a_killed_worker_left_half_fetched_goes_after_a_day(
    store: FileStore, record: GeneratorRecord, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    for name, age_s in ((".fetch-old", 25 * 3600), (".fetch-new", 60), ("another", 25 * 3600)):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (time.time() - age_s,) * 2)
    copy = fetch(store, record, cache)
    assert {path.name for path in cache.iterdir()} == {".fetch-new", "another", copy.name}


def test_damaged_weights_are_refused_and_not_kept(store: FileStore, record: GeneratorRecord, tmp_path: Path) -> None:
    store.put(f"generators/{GENERATOR}/weights.safetensors", b"something else")
    with pytest.raises(JobFailure, match="not those that were recorded"):
        fetch(store, record, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_older_version_goes_unless_somebody_reads_it(
    store: FileStore, record: GeneratorRecord, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with local_generator(store, record, cache) as old:
        store.put(f"generators/{GENERATOR}/encoder.safetensors", b"another version")
        with local_generator(store, record, cache) as new:
            assert set(cache.iterdir()) == {old, new}
            assert (old / WEIGHTS).exists()
    assert fetch(store, record, cache) == new
    assert list(cache.iterdir()) == [new]


def test_one_generator_leaves_the_copies_of_others_until_they_are_long_unused(
    store: FileStore, folder: Path, record: GeneratorRecord, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    other = publish_generator(store, folder, f"{GENERATOR}-too", "Tiny", "trained")
    copies = [fetch(store, record, cache), fetch(store, other, cache)]
    assert set(cache.iterdir()) == set(copies)
    for copy, age_s in zip(copies, (KEPT_UNUSED_S - 3600, KEPT_UNUSED_S + 3600), strict=True):
        os.utime(copy, (time.time() - age_s,) * 2)
    assert fetch(store, record, cache) == copies[0]
    assert list(cache.iterdir()) == copies[:1]
    assert time.time() - copies[0].stat().st_mtime < 60, "it was used now"


def test_a_copy_removed_before_it_could_be_held_is_fetched_again(
    store: FileStore, record: GeneratorRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = local_generators._fetched
    removals = iter([True, False])

    def removed_once(*arguments: object) -> Path:
        copy = fetched(*arguments)  # type: ignore[arg-type]
        if next(removals):
            shutil.rmtree(copy)
        return copy

    monkeypatch.setattr(local_generators, "_fetched", removed_once)
    with local_generator(store, record, tmp_path / "cache") as copy:
        assert file_digests(copy)[WEIGHTS] == record.sha256
