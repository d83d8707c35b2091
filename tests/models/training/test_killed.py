"""kill -9 at any time, again and again: what is lost is one interval at most, and what was published is whole."""

import json
import math
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from models.bundle import load_generator
from models.training.job import TrainingOptions, train_generator
from models.training.trainer import Trainer
from tests.models.training.subjects import PLAN, SMALL, colours, save_pictures

# Longer than any of the test's lives: it never ends by itself.
ENDLESS = replace(PLAN, images=10**9, settings=replace(PLAN.settings, augment="ada"))
OPTIONS = TrainingOptions(minimum_images=2, samples=4, evaluation_share=math.inf, patience=0, checkpoint_every_s=0.0)


def train_endlessly(source: Path, folder: Path, shown: Connection) -> None:
    torch.set_num_threads(1)
    train_generator(source, folder, ENDLESS, lambda progress: shown.send(progress.images), OPTIONS, device="cpu")


def life(source: Path, folder: Path, seconds: float) -> int:
    """Train in a process, and kill it some time after its first report. Returns the images it last reported."""
    receive, send = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=train_endlessly, args=(source, folder, send))
    child.start()
    send.close()
    reported = receive.recv()
    time.sleep(seconds)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    while receive.poll():
        try:
            reported = receive.recv()
        except EOFError:
            break
    return reported


def test_kill_9_at_any_time_loses_one_interval_at_most(tmp_path: Path) -> None:
    source, folder = save_pictures(tmp_path / "in"), tmp_path / "run"
    turn = 0
    # On a busy machine a life may be too short for the first snapshot; each is longer than the one before.
    while turn < 6 or not (folder / "weights.safetensors").exists():
        turn += 1
        reported = life(source, folder, 0.05 + 0.037 * turn)
        # The checkpoint is written after the report, in each step.
        kept = Trainer(folder, SMALL, ENDLESS.settings, colours(), "cpu").shown
        assert kept >= reported - ENDLESS.settings.batch
        if (folder / "weights.safetensors").exists():
            load_generator(folder / "weights.safetensors", torch.device("cpu"))
        if (folder / "evaluations.json").exists():
            assert json.loads((folder / "evaluations.json").read_text())
    assert len(list((folder / "snapshots").glob("*.safetensors"))) <= 4


def test_a_trainer_that_was_killed_while_saving_is_no_obstacle(tmp_path: Path) -> None:
    """Each state in which the renames of a save can be interrupted."""
    trainer = Trainer(tmp_path, SMALL, ENDLESS.settings, colours(), "cpu")
    trainer.run(16, lambda _: None)
    trainer.run(32, lambda _: None)
    newest, previous = tmp_path / "checkpoint.pt", tmp_path / "checkpoint.previous.pt"
    (tmp_path / ".checkpoint.pt.partial").write_bytes(newest.read_bytes()[:1000])
    assert Trainer(tmp_path, SMALL, ENDLESS.settings, colours(), "cpu").shown == 32
    newest.replace(previous)
    again = Trainer(tmp_path, SMALL, ENDLESS.settings, colours(), "cpu")
    assert again.shown == 32
    again.save()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt"]
