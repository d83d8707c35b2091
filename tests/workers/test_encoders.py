"""Encoders are trained by themselves, once, and go on where a killed worker left off."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
import redis as redis_client
import torch

from models.bundle import load_bundle
from models.inversion.training import EncoderProgress, EncoderSettings, EncoderTraining
from models.training.checkpoints import read_checkpoint
from service.generators import find_generator
from service.ledger import Ledger
from service.locks import lock_if_free
from service.queue import JobQueue
from service.records import GeneratorRecord, JobRecord, Phase
from service.requests import EncodeRequest
from service.settings import Settings
from service.stores import FileStore
from tests.workers.conftest import QUICK_FIT, NewJob
from tests.workers.world import GENERATOR, write_generator
from workers import encoders
from workers.encoders import encoder_settings, ensure_encoder
from workers.labelers import ensure_labeler
from workers.lease import lease
from workers.local_generators import local_generator
from workers.public_errors import JobFailure
from workers.publish import publish_generator
from workers.workbench import Cancelled, Workbench

KEY = f"generators/{GENERATOR}/encoder.safetensors"


@pytest.fixture
def bench(store: FileStore, settings: Settings, redis: redis_client.Redis, tmp_path: Path) -> Workbench:
    """A job about a generator that has no encoder."""
    write_generator(tmp_path / GENERATOR)
    publish_generator(store, tmp_path / GENERATOR, GENERATOR, "Tiny", "trained", truncations=())
    ledger = Ledger(store, redis, 3600)
    ledger.accept(JobRecord(id="job", request=EncodeRequest(generator_id=GENERATOR)))
    return Workbench("job", settings, store, redis, ledger, JobQueue(redis, settings))


def set_encoder(bench: Workbench, has_encoder: bool) -> None:
    record = find_generator(bench.store, GENERATOR)
    assert record is not None
    changed = record.model_copy(update={"has_encoder": has_encoder, "provenance": {}})
    bench.store.put(GeneratorRecord.key(GENERATOR), changed.model_dump_json().encode())


def test_a_fit_trains_the_encoder_it_lacks(new_job: NewJob) -> None:
    bench = new_job("job", count=1, shard_size=1)
    set_encoder(bench, False)
    bench.store.delete(KEY)
    assert not bench.generator.has_encoder
    ensure_labeler(bench, replace(QUICK_FIT, steps=12))
    assert bench.generator.has_encoder
    assert bench.store.exists(KEY)
    assert bench.ledger.get("job").phase is Phase.FIT


def test_an_encoder_is_trained_once(bench: Workbench) -> None:
    ensure_encoder(bench)
    assert bench.generator.has_encoder
    assert bench.ledger.get("job").phase is Phase.ENCODE
    record = find_generator(bench.store, GENERATOR)
    assert record is not None
    assert record.provenance["encoder"]["settings"]["steps_code"] == 4
    (note,) = bench.ledger.get("job").notes
    assert "random weights of alex" in note
    assert "LABELMINT_LPIPS_WEIGHTS" in note
    (row,) = bench.store.list(KEY)
    ensure_encoder(bench)
    assert list(bench.store.list(KEY)) == [row]
    with local_generator(bench.store, bench.generator, bench.generator_cache) as folder:
        assert load_bundle(folder, torch.device("cpu")).encoder is not None


def test_of_two_jobs_one_trains_and_the_other_waits(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "EncoderTraining", None)  # whoever trains, fails
    waiting = threading.Thread(target=ensure_encoder, args=(bench,))
    with lease(bench.redis, f"encoder:{GENERATOR}", "another", lambda: False):
        waiting.start()
        time.sleep(0.3)
        assert waiting.is_alive()
        set_encoder(bench, True)
        waiting.join(10)
    assert not waiting.is_alive()
    assert bench.generator.has_encoder


def test_a_generator_deleted_meanwhile_gets_no_encoder(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = encoders._trained

    def delete(*arguments: object) -> object:
        bench.store.delete(GeneratorRecord.key(GENERATOR))
        return trained(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(encoders, "_trained", delete)
    with pytest.raises(JobFailure, match="deleted or replaced"):
        ensure_encoder(bench)
    assert not bench.store.exists(KEY)
    assert find_generator(bench.store, GENERATOR) is None


def test_a_generator_that_replaced_it_meanwhile_keeps_its_own_encoder(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = encoders._trained

    def replace_generator(*arguments: object) -> object:
        outcome = trained(*arguments)  # type: ignore[arg-type]
        record = find_generator(bench.store, GENERATOR)
        assert record is not None
        other = record.model_copy(update={"sha256": "1" * 64, "has_encoder": True})
        bench.store.put(GeneratorRecord.key(GENERATOR), other.model_dump_json().encode())
        bench.store.put(KEY, b"its own")
        return outcome

    monkeypatch.setattr(encoders, "_trained", replace_generator)
    with pytest.raises(JobFailure, match="deleted or replaced"):
        ensure_encoder(bench)
    assert bench.store.read(KEY) == b"its own"


def test_nobody_removes_a_generator_while_its_encoder_is_stored(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, free = bench.store.put, []

    def watched(key: str, data: bytes | BinaryIO) -> int:
        if key in (KEY, GeneratorRecord.key(GENERATOR)):
            with lock_if_free(bench.redis, "generators") as is_free:
                free.append(is_free)
        return put(key, data)

    monkeypatch.setattr(bench.store, "put", watched)
    ensure_encoder(bench)
    assert free == [False, False]


def test_training_can_be_cancelled(bench: Workbench) -> None:
    bench.ledger.start("job")
    bench.ledger.cancel("job")
    with pytest.raises(Cancelled):
        ensure_encoder(bench)


def test_a_killed_training_goes_on_with_the_same_result(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after step 3 of 6 and taken up again, it ends with the weights of one that was never killed."""
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr("models.inversion.training.REPORT_EVERY_S", 0.0)
    run = EncoderTraining.run
    ends: list[dict[str, torch.Tensor]] = []

    def always_keeping(training: EncoderTraining, report: object, keep: object) -> object:
        ends.append({})

        def noted(progress: EncoderProgress) -> None:
            seen.append((progress.stage, progress.step))
            if len(ends) == 2 and progress.step == 3:
                raise KeyboardInterrupt
            report(progress)  # type: ignore[operator]

        encoder = run(training, noted, keep, keep_every_s=0.0)  # type: ignore[arg-type]
        ends[-1].update(encoder.state_dict())
        return encoder

    monkeypatch.setattr(EncoderTraining, "run", always_keeping)
    ensure_encoder(bench)
    set_encoder(bench, False)
    vars(bench).pop("generator")
    with pytest.raises(KeyboardInterrupt):
        ensure_encoder(bench)
    (folder,) = (bench.settings.data_dir / "encoders").iterdir()
    state = read_checkpoint(folder)
    assert state is not None
    assert (state["stage"], state["step"]) == (1, 2)
    seen.clear()
    ensure_encoder(bench)
    assert seen == [(1, 3), (1, 4), (2, 1), (2, 2)]
    assert bench.redis.hget("labelmint:job:job", "before") == b"2", "its rate is not that of what was done before"
    assert all(torch.equal(ends[0][name], ends[2][name]) for name in ends[0])
    assert not folder.exists()


def test_a_worker_that_dies_while_it_publishes_costs_no_training(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, publish = EncoderTraining.run, encoders._publish
    steps: list[int] = []

    def always_keeping(training: EncoderTraining, report: object, keep: object) -> object:
        before = training.step
        encoder = run(training, report, keep, keep_every_s=0.0)  # type: ignore[arg-type]
        steps.append(training.step - before)
        return encoder

    def die(*_: object) -> None:
        monkeypatch.setattr(encoders, "_publish", publish)
        raise KeyboardInterrupt

    monkeypatch.setattr(EncoderTraining, "run", always_keeping)
    monkeypatch.setattr(encoders, "_publish", die)
    with pytest.raises(KeyboardInterrupt):
        ensure_encoder(bench)
    ensure_encoder(bench)
    assert bench.generator.has_encoder
    assert steps[1] == 0
    assert not list((bench.settings.data_dir / "encoders").iterdir())


def test_what_trainings_of_long_ago_left_goes(bench: Workbench) -> None:
    forgotten = bench.settings.data_dir / "encoders" / "forgotten-0123456789abcdef"
    forgotten.mkdir(parents=True)
    os.utime(forgotten, (0, 0))
    ensure_encoder(bench)
    assert not forgotten.exists()


def test_what_is_left_of_another_training_is_not_used(bench: Workbench, tmp_path: Path) -> None:
    folder = bench.settings.data_dir / "encoders" / f"{GENERATOR}-{bench.generator.sha256[:16]}"
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"damaged")
    ensure_encoder(bench)
    assert bench.generator.has_encoder


def test_steps_are_split_and_batches_shrink(bench: Workbench) -> None:
    settings = bench.settings.model_copy(update={"encoder_steps": 9000, "encoder_minutes": 2.0})
    chosen = {side: encoder_settings(settings, side) for side in (64, 128, 256, 1024)}
    assert {side: found.batch for side, found in chosen.items()} == {64: 32, 128: 32, 256: 16, 1024: 4}
    assert chosen[64] == EncoderSettings(steps_code=6000, steps_image=3000, time_limit_s=120.0, batch=32)
