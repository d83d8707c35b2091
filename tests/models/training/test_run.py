"""What a run leaves behind: sheets, the best generator, its distances, a log."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.bundle import load_generator
from models.distances.random_convnet import RandomConvnet
from models.distances.statistics import Distance, FeaturesDiffer
from models.generator import Generator
from models.training.evaluation import Evaluator
from models.training.images import TrainingImages
from models.training.run import Run, sample_images
from models.training.snapshots import Snapshots
from models.training.trainer import Trainer
from tests.models.training.subjects import SETTINGS, SMALL, colours, evaluator

CPU = torch.device("cpu")


def start(folder: Path, **options: object) -> tuple[Trainer, Run]:
    trainer = Trainer(folder, SMALL, SETTINGS, colours(), "cpu")
    options = {"evaluation_share": math.inf} | options
    return trainer, Run(trainer, evaluator(folder), "labelmint generator train", "flat colours", **options)


def fake_distances(monkeypatch: pytest.MonkeyPatch, *frechet: float) -> None:
    values = iter(frechet)
    monkeypatch.setattr(Evaluator, "measure", lambda *_: Distance("random-convnet-v1", next(values), 0.0, 9, 9))


def test_a_run_leaves_sheets_weights_log_and_provenance(tmp_path: Path) -> None:
    trainer, run = start(tmp_path)
    trainer.run(80, run.log, snapshot=run.snapshot, snapshot_images=40)
    assert sorted(p.name for p in (tmp_path / "sheets").iterdir()) == ["00000040.png", "00000080.png"]
    for sheet in (tmp_path / "sheets" / "00000080.png", tmp_path / "images.png"):
        with Image.open(sheet) as picture:
            assert picture.size == (12 * 8, 6 * 8)
    provenance = json.loads((tmp_path / "provenance.json").read_text())["generator"]
    assert provenance["images_shown_in_all"] == 80
    assert provenance["source"] == "flat colours"
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["images"] == 80
    assert last["features"] == "random-convnet-v1"
    evaluations = json.loads((tmp_path / "evaluations.json").read_text())
    assert [e["images"] for e in evaluations] == [40, 80]
    assert last["distance"] == evaluations[-1]["distance"]["frechet"]


def test_the_published_generator_is_the_best_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_distances(monkeypatch, 3.0, 1.0, 2.0)
    trainer, run = start(tmp_path)
    best: list[np.ndarray] = []

    def snapshot(trainer: Trainer) -> None:
        run.snapshot(trainer)
        best.append(sample_images(trainer.average, 4, 1).astype(int))

    trainer.run(120, run.log, snapshot=snapshot, snapshot_images=40)
    assert (tmp_path / "discriminator.safetensors").exists()
    published = sample_images(load_generator(tmp_path / "weights.safetensors", CPU), 4, 1)
    # Weights are rounded to half precision.
    assert [np.abs(published - images).max() <= 2 for images in best] == [False, True, False]
    assert sorted(p.name for p in (tmp_path / "snapshots").iterdir()) == [
        "00000080.safetensors",
        "00000120.safetensors",
    ]
    provenance = json.loads((tmp_path / "provenance.json").read_text())["generator"]
    assert (provenance["images_shown"], provenance["distance"]["frechet"]) == (80, 1.0)


def test_a_resumed_run_knows_its_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_distances(monkeypatch, 1.0, 2.0)
    trainer, run = start(tmp_path)
    trainer.run(40, run.log, snapshot=run.snapshot, snapshot_images=40)
    published = (tmp_path / "weights.safetensors").read_bytes()
    trainer, run = start(tmp_path)
    assert trainer.distance == 1.0
    trainer.run(80, run.log, snapshot=run.snapshot, snapshot_images=40)
    assert (tmp_path / "weights.safetensors").read_bytes() == published


def test_a_run_that_gets_no_better_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_distances(monkeypatch, 3.0, 2.0, 2.5, 2.1, 9.0, 9.0)
    trainer, run = start(tmp_path, patience=2)
    trainer.run(10_000, run.log, snapshot=run.snapshot, snapshot_images=40)
    assert trainer.shown == 160
    assert run.stopped_early
    best = run.snapshots.best
    assert best is not None
    assert best.images == 80


def test_evaluations_take_no_more_than_their_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_distances(monkeypatch, 3.0, 2.0)
    trainer, run = start(tmp_path, evaluation_share=0.0)
    trainer.run(200, run.log, snapshot=run.snapshot, snapshot_images=40)
    # Of five, the first and the last.
    assert [e.images for e in run.snapshots.evaluations] == [40, 200]
    assert len(list((tmp_path / "sheets").iterdir())) == 5


def test_distances_by_other_features_are_never_mixed_in(tmp_path: Path) -> None:
    trainer, run = start(tmp_path)
    trainer.run(40, run.log, snapshot=run.snapshot, snapshot_images=40)
    with pytest.raises(FeaturesDiffer, match="go on with --features random-convnet-v1"):
        Snapshots(tmp_path, "inception-torchvision")
    assert Snapshots.features_of(tmp_path) == "random-convnet-v1"


def test_without_any_evaluation_the_newest_generator_is_published(tmp_path: Path) -> None:
    trainer, run = start(tmp_path)
    trainer.run(16, run.log)
    run.keep(trainer)
    published = sample_images(load_generator(tmp_path / "weights.safetensors", CPU), 4, 1).astype(int)
    assert np.abs(published - sample_images(trainer.average, 4, 1)).max() <= 2
    assert json.loads((tmp_path / "provenance.json").read_text())["generator"]["distance"] is None


def test_the_training_images_are_measured_once_and_mirrored_when_shown_so(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert evaluator(tmp_path).references.count == 64
    pixels = TrainingImages(colours(), tmp_path / "colours.u8", None)
    Evaluator(RandomConvnet(), pixels, False, 9, lambda *done: seen.append(done))
    assert seen == []
    both = Evaluator(RandomConvnet(), pixels, True, 9, lambda *done: seen.append(done))
    assert both.references.count == 128
    assert seen[-1] == (128, 128)


def test_a_nearer_generator_has_a_smaller_distance(tmp_path: Path) -> None:
    judge = evaluator(tmp_path, samples=100)
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    torch.manual_seed(0)
    before = judge.measure(Generator(SMALL))
    trainer.run(1200, lambda _: None)
    after = judge.measure(trainer.average)
    assert after.is_closer_than(before)
    assert after.frechet < 0.5 * before.frechet
    assert after == judge.measure(trainer.average)
