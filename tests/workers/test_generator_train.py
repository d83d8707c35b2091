"""Training as a job: from a zip of images to a generator, through kills, machines and cancellations."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from labelmint import generator_train as command
from models.bundle import load_generator
from models.checkpoint import half
from models.training.checkpoints import write_checkpoint
from models.training.job import TrainingOptions
from models.training.settings import TrainingPlan, plan_for
from models.training.trainer import TrainingProgress
from service.generators import find_generator, training_of
from service.records import JobState, Phase, preview_key
from service.requests import TrainRequest
from service.settings import Settings
from service.stores import FileStore
from tests.workers.conftest import NewTraining
from tests.workers.trainings import cancel_when, interrupt_after, zip_of_images
from tests.workers.world import SIZE, write_generator
from workers import generator_train
from workers.publish import publish_generator
from workers.training_files import fetch_run, save_run
from workers.training_sheet import progression


def test_images_become_a_generator(new_training: NewTraining) -> None:
    bench = new_training(zip_of_images(broken=2), seed=3)
    generator_train.run("gen-job")
    job = bench.ledger.get("gen-job")
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert (job.phase, job.progress.done, job.progress.total) == (Phase.TRAIN, 64, 64)
    assert job.progress.details.keys() >= {"images_per_s", "p", "real_logit", "fake_logit", "distance", "features"}
    assert any("Fréchet distance" in note for note in job.notes)
    assert any("2 files were left out" in note and "broken-01.png" in note for note in job.notes)
    record = find_generator(bench.store, "mine")
    assert record is not None
    assert (record.resolution, record.source, record.has_encoder) == (32, "trained", False)
    assert isinstance(bench.job.request, TrainRequest)
    assert record.provenance["training_request"] == training_of(bench.job.request)
    assert record.provenance["generator"]["training_images"] == 110
    assert record.upload_sha256 == bench.job.request.sha256
    assert str(bench.settings.data_dir) not in record.model_dump_json()
    with Image.open(io.BytesIO(bench.store.read(preview_key(job)))) as picture:
        assert picture.size == (12 * 32, 2 * 32)  # two snapshots of twelve samples
    for prefix in ("uploads/", "trainings/"):
        assert not list(bench.store.list(prefix))
    assert not (bench.settings.data_dir / "trainings" / "gen-job").exists()
    generator_train.run("gen-job")
    assert find_generator(bench.store, "mine") == record, "done again, it changes nothing"


def test_images_that_cannot_be_trained_on_are_named(new_training: NewTraining) -> None:
    bench = new_training(zip_of_images(20, broken=12))
    generator_train.run("gen-job")
    error = bench.ledger.get("gen-job").error
    assert error is not None
    assert (error.code, error.retry) == ("bad-images", False)
    assert "pictures/broken-00.png: " in error.message
    assert "broken-09" in error.message
    assert "broken-10" not in error.message
    assert "2 more" in error.message
    assert "100 are the least" in error.message
    assert not list(bench.store.list("uploads/"))


def test_names_in_a_zip_spoil_no_message(new_training: NewTraining) -> None:
    buffer = io.BytesIO(zip_of_images(20))
    with zipfile.ZipFile(buffer, "a") as archive:
        for name in ("\x1b[2J\n.png", "n" * 10_000 + ".png", "last.png"):
            archive.writestr(name, b"no picture")
    bench = new_training(buffer.getvalue())
    generator_train.run("gen-job")
    error = bench.ledger.get("gen-job").error
    assert error is not None
    assert error.code == "bad-images"
    assert "�[2J�.png: " in error.message
    assert "last.png: it is not a whole" in error.message
    assert error.message.isprintable()
    assert len(error.message) < 1000


@pytest.mark.parametrize("resolution", [64, 128, 256])
def test_what_is_not_chosen_is_that_of_the_command(
    new_training: NewTraining, monkeypatch: pytest.MonkeyPatch, resolution: int
) -> None:
    given: list[tuple[TrainingPlan, TrainingOptions]] = []

    def train(
        source: Path, folder: Path, plan: TrainingPlan, report: object, options: TrainingOptions, *_: Any
    ) -> None:
        given.append((plan, options))
        raise ValueError("enough")

    monkeypatch.setattr(generator_train, "plan_for", plan_for)
    monkeypatch.setattr(generator_train, "train_generator", train)
    bench = new_training(resolution=resolution, kimg=None)
    generator_train.run("gen-job")
    ((plan, options),) = given
    assert plan == command._plan(False, resolution, None, {}, {})
    defaults = TrainingOptions()
    assert (options.fit, options.patience) == (defaults.fit, defaults.patience)
    given.clear()
    bench.ledger.forget("gen-job")
    new_training(resolution=resolution, fit="stretch", patience=2, mirror=True, augment="fixed", augment_p=0.3)
    generator_train.run("gen-job")
    ((plan, options),) = given
    assert (options.fit, options.patience, plan.images) == ("stretch", 2, 64)
    assert (plan.settings.mirror, plan.settings.augment, plan.settings.augment_p) == (True, "fixed", 0.3)


def test_of_too_few_images_those_that_repeat_others_are_counted(new_training: NewTraining) -> None:
    bench = new_training(zip_of_images(20, copies=90))
    generator_train.run("gen-job")
    error = bench.ledger.get("gen-job").error
    assert error is not None
    assert "Of 110 images in the zip 20 can be trained on, and 100 are the least. 90 repeat others." in error.message


def test_something_that_is_no_zip_is_refused(new_training: NewTraining) -> None:
    bench = new_training(b"PK\x03\x04 and nothing more")
    generator_train.run("gen-job")
    error = bench.ledger.get("gen-job").error
    assert error is not None
    assert error.code == "bad-images"
    assert error.message.startswith("images.zip: ")


def test_a_cancelled_training_keeps_its_best_snapshot(
    new_training: NewTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_training(kimg=100)
    cancel_when(bench, monkeypatch, lambda progress: progress.images >= 40)
    generator_train.run("gen-job")
    job = bench.ledger.get("gen-job")
    assert job.state is JobState.CANCELLED
    assert any("best snapshot was kept" in note for note in job.notes)
    record = find_generator(bench.store, "mine")
    assert record is not None
    assert record.provenance["generator"]["images_shown"] == 32
    assert not list(bench.store.list("trainings/"))


def test_a_training_cancelled_before_its_first_snapshot_keeps_nothing(
    new_training: NewTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_training(kimg=100)
    cancel_when(bench, monkeypatch, lambda progress: True)
    generator_train.run("gen-job")
    job = bench.ledger.get("gen-job")
    assert job.state is JobState.CANCELLED
    assert any("Nothing was kept" in note for note in job.notes)
    assert find_generator(bench.store, "mine") is None


def test_a_training_goes_on_on_another_machine(
    new_training: NewTraining, monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    bench = new_training(kimg=0.096)
    monkeypatch.setattr(generator_train, "SAVE_EVERY_S", 0.0)
    report = generator_train._Watch.report
    shown: list[int] = []

    def losing_the_machine(watch: generator_train._Watch, progress: TrainingProgress) -> None:
        shown.append(progress.images)
        report(watch, progress)
        if progress.images >= 48 and len(shown) < 100:
            shown.extend([0] * 100)
            raise KeyboardInterrupt

    monkeypatch.setattr(generator_train._Watch, "report", losing_the_machine)
    monkeypatch.setattr("models.training.trainer.REPORT_EVERY_S", 0.0)
    options = generator_train.TrainingOptions
    monkeypatch.setattr(generator_train, "TrainingOptions", lambda **given: options(checkpoint_every_s=0.0, **given))
    with pytest.raises(KeyboardInterrupt):
        generator_train.run("gen-job")
    assert bench.store.exists("trainings/gen-job/checkpoint.pt")
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "another machine"})
    monkeypatch.setattr("workers.workbench.get_settings", lambda: elsewhere)
    before = len(shown)
    generator_train.run("gen-job")
    assert bench.ledger.get("gen-job").state is JobState.SUCCEEDED
    assert 32 <= shown[before] <= 56, "it began again where it was"
    assert shown[-1] == 96


def test_a_training_that_cannot_be_measured_any_more_says_so(
    new_training: NewTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_training()
    interrupt_after(bench, monkeypatch, 40)
    evaluations = bench.settings.data_dir / "trainings" / "gen-job" / "evaluations.json"
    evaluations.write_text(evaluations.read_text().replace("random-convnet-v1", "inception-torchvision"))
    monkeypatch.setattr("models.distances.features.find_inception_weights", lambda: None)
    generator_train.run("gen-job")
    job = bench.ledger.get("gen-job")
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert any("LABELMINT_INCEPTION_WEIGHTS" in note for note in job.notes)
    record = find_generator(bench.store, "mine")
    assert record is not None
    assert record.provenance["generator"]["images_shown"] == 32


def test_a_training_can_start_from_a_generator(new_training: NewTraining, store: FileStore, tmp_path: Path) -> None:
    write_generator(tmp_path / "tiny")
    publish_generator(store, tmp_path / "tiny", "tiny", "Tiny", "trained", truncations=())
    bench = new_training(start="tiny", resolution=SIZE)
    generator_train.run("gen-job")
    assert bench.ledger.get("gen-job").error is None
    record = find_generator(store, "mine")
    assert record is not None
    tiny = find_generator(store, "tiny")
    assert tiny is not None
    assert record.architecture == tiny.architecture
    # A new discriminator learns alone for the first 40,000 images: the generator is still the one it began with.
    start = half(load_generator(tmp_path / "tiny" / "weights.safetensors", torch.device("cpu")).state_dict())
    trained = safetensors.torch.load(store.read("generators/mine/weights.safetensors"))
    assert trained.keys() == start.keys()
    assert all(torch.equal(trained[name], start[name]) for name in start if not name.endswith("w_avg"))


def test_runs_are_taken_up_from_whoever_got_further(store: FileStore, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, images in ((here, 500), (there, 300)):
        (folder / "snapshots").mkdir(parents=True)
        write_checkpoint(folder, {"shown": images, "weights": torch.zeros(3)})
        (folder / "snapshots" / f"{images:08d}.safetensors").write_bytes(b"-")
    save_run(store, "job", here, 500)
    before = (here / "checkpoint.pt").read_bytes()
    fetch_run(store, "job", there)
    assert (there / "checkpoint.pt").read_bytes() == before
    assert (there / "snapshots" / "00000500.safetensors").exists()
    (here / "snapshots" / "00000500.safetensors").write_bytes(b"+")
    save_run(store, "job", here, 500)
    assert store.read("trainings/job/snapshots/00000500.safetensors") == b"+", "made again from before, it is another"
    write_checkpoint(there, {"shown": 900, "weights": torch.ones(3)})
    fetch_run(store, "job", there)
    assert (there / "checkpoint.pt").read_bytes() != before, "what is further stays"
    (here / "snapshots" / "00000500.safetensors").unlink()
    save_run(store, "job", here, 600)
    assert not store.exists("trainings/job/snapshots/00000500.safetensors")
    fetch_run(store, "job", tmp_path / "there")
    fetch_run(store, "nothing", tmp_path / "nowhere")


def test_the_progression_shows_at_most_eight_of_many_sheets(tmp_path: Path) -> None:
    sheets = []
    for number in range(20):
        path = tmp_path / f"{number:02d}.png"
        Image.new("RGB", (12 * 32, 6 * 32), (number, 0, 0)).save(path)
        sheets.append(path)
    with Image.open(io.BytesIO(progression(sheets, 32))) as picture:
        assert picture.size == (12 * 32, 8 * 32)
        reds = np.asarray(picture)[::32, 0, 0].tolist()
    assert (reds[0], reds[-1]) == (0, 19)
    assert reds == sorted(set(reds))
    with Image.open(io.BytesIO(progression(sheets[:1], 32))) as picture:
        assert picture.size == (12 * 32, 32)
