"""Pictures in, a generator out: what a command or a worker calls."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.bundle import load_generator
from models.training.checkpoints import NEWEST
from models.training.folder_lock import FolderBusy
from models.training.images import TooFewImages
from models.training.job import StopTraining, TrainingOptions, TrainingOutcome, train_generator
from models.training.settings import TrainingSettings
from models.training.trainer import TrainingProgress
from tests.models.training.subjects import PLAN, ignore, save_pictures

OPTIONS = TrainingOptions(minimum_images=2, samples=20, evaluation_share=math.inf)
ADA = replace(PLAN, settings=replace(PLAN.settings, augment="ada", ada_images=200))


def train(tmp_path: Path, report=ignore, plan=ADA, options: TrainingOptions = OPTIONS) -> TrainingOutcome:
    source = save_pictures(tmp_path / "in")
    return train_generator(source, tmp_path / "run", plan, report, options, device="cpu")


def test_pictures_become_a_generator(tmp_path: Path) -> None:
    stages: list[tuple[str, int, int]] = []
    outcome = train_generator(
        save_pictures(tmp_path / "in"),
        tmp_path / "run",
        ADA,
        ignore,
        OPTIONS,
        lambda *stage: stages.append(stage),
        device="cpu",
    )
    assert (outcome.ended, outcome.images_shown) == ("done", 80)
    assert outcome.best is not None
    assert outcome.best.references == 12
    assert outcome.report is not None
    assert outcome.report.images == 12
    load_generator(outcome.folder / "weights.safetensors", torch.device("cpu"))
    assert ("read images", 12, 12) in stages
    assert ("measure images", 12, 12) in stages


def test_a_run_goes_on_and_does_not_end_twice(tmp_path: Path) -> None:
    first = train(tmp_path)
    again = train(tmp_path)
    assert (again.images_shown, again.best) == (first.images_shown, first.best)
    longer = train(tmp_path, plan=replace(ADA, images=120))
    assert longer.images_shown == 120


def test_a_run_goes_on_unmeasured_where_its_features_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(tmp_path)
    assert first.unmeasured_by is None
    evaluations = tmp_path / "run" / "evaluations.json"
    evaluations.write_text(evaluations.read_text().replace("random-convnet-v1", "inception-torchvision"))
    known, weights = evaluations.read_text(), (tmp_path / "run" / "weights.safetensors").read_bytes()
    monkeypatch.setattr("models.distances.features.find_inception_weights", lambda: None)
    longer = train(tmp_path, plan=replace(ADA, images=200), options=replace(OPTIONS, patience=1))
    assert (longer.ended, longer.images_shown) == ("done", 200)
    assert (longer.unmeasured_by, longer.best_images) == ("inception-torchvision", first.best_images)
    assert evaluations.read_text() == known
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == weights
    with pytest.raises(ValueError, match="not in torch's cache"):
        train(tmp_path, options=replace(OPTIONS, features="inception-torchvision"))


def test_a_folder_is_trained_by_one_process_at_a_time(tmp_path: Path) -> None:
    busy: list[str] = []

    def report(progress: TrainingProgress) -> None:
        with pytest.raises(FolderBusy, match="run is being trained by another process") as refusal:
            train(tmp_path)
        busy.append(str(refusal.value))

    train(tmp_path, report)
    assert busy
    assert train(tmp_path).ended == "done"


def test_pictures_are_prepared_by_one_process_at_a_time(tmp_path: Path) -> None:
    busy: list[str] = []
    source, folder = save_pictures(tmp_path / "in"), tmp_path / "run"

    def prepare(_stage: str, done: int, _total: int) -> None:
        if done == 1 and not busy:
            with pytest.raises(FolderBusy) as refusal:
                train_generator(source, folder, ADA, ignore, OPTIONS, device="cpu")
            busy.append(str(refusal.value))

    assert train_generator(source, folder, ADA, ignore, OPTIONS, prepare, device="cpu").images_shown == 80
    assert busy


def test_whoever_cancels_finds_checkpoint_and_generator(tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    def report(progress: TrainingProgress) -> None:
        if progress.images >= 48:
            raise Cancelled

    with pytest.raises(Cancelled):
        train(tmp_path, report, replace(ADA, images=10_000))
    assert (tmp_path / "run" / NEWEST).exists()
    load_generator(tmp_path / "run" / "weights.safetensors", torch.device("cpu"))
    seen: list[TrainingProgress] = []
    train(tmp_path, seen.append, replace(ADA, images=160))
    assert seen[0].images > 48
    assert seen[0].eta_s > 0


def test_cancelling_before_the_first_evaluation_keeps_what_there_is(tmp_path: Path) -> None:
    def report(_: TrainingProgress) -> None:
        raise StopTraining

    outcome = train(tmp_path, report)
    assert (outcome.ended, outcome.best) == ("stopped", None)
    load_generator(tmp_path / "run" / "weights.safetensors", torch.device("cpu"))


def test_a_start_is_needed_only_once(tmp_path: Path) -> None:
    train(tmp_path)
    options = replace(OPTIONS, start=tmp_path / "run")
    source, second = tmp_path / "in", tmp_path / "second"
    outcome = train_generator(source, second, replace(ADA, images=40), ignore, options, device="cpu")
    assert outcome.images_shown == 40
    gone = replace(options, start=tmp_path / "gone")
    assert train_generator(source, second, ADA, ignore, gone, device="cpu").images_shown == 80
    with pytest.raises(ValueError, match="no generator there"):
        train_generator(source, tmp_path / "third", ADA, ignore, gone, device="cpu")


def test_too_few_pictures_start_nothing(tmp_path: Path) -> None:
    with pytest.raises(TooFewImages):
        train(tmp_path, options=replace(OPTIONS, minimum_images=100))
    assert not (tmp_path / "run" / NEWEST).exists()


def test_the_command_trains_says_what_it_left_out_and_goes_on(tmp_path: Path) -> None:
    source = save_pictures(tmp_path / "in")
    (source / "bad.png").write_bytes(b"x")
    shape = "--resolution 8 --w-dim 8 --channel-base 128 --channel-max 16 --batch 8 --device cpu"
    size = "--snapshot-kimg 0.04 --samples 20 --minimum-images 10"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "labelmint", "generator", "train", "--images", "in", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("--out", "run", "--kimg", "0.08", *shape.split(), *size.split())
    assert done.returncode == 0, done.stderr
    assert "left out: bad.png: it is not a whole PNG, JPEG or WebP image" in done.stderr
    assert "random-convnet-v1" in done.stderr or "inception-torchvision" in done.stderr
    load_generator(tmp_path / "run" / "weights.safetensors", torch.device("cpu"))

    refused = run("--out", "other", "--start", "run", "--w-dim", "16", "--minimum-images", "10")
    assert refused.returncode == 2
    assert refused.stderr.startswith("Error: ")
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "was asked for, but the generator to start from has 8" in refused.stderr


def test_settings_are_told_in_the_provenance(tmp_path: Path) -> None:
    train(tmp_path, options=replace(OPTIONS, command="as typed", source="noise"))
    text = (tmp_path / "run" / "provenance.json").read_text()
    assert '"as typed"' in text
    assert TrainingSettings.__name__ not in text
    assert '"augment": "ada"' in text
