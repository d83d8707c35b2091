import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.bundle import load_generator
from models.generator import Architecture
from models.training.discriminator import Discriminator, minibatch_deviation
from models.training.batches import draw_batch
from models.training.images import load_folder, render_training_bears
from models.training.run import Run, sample_images
from models.training.settings import TrainingSettings
from models.training.trainer import Trainer, TrainingProgress

SMALL = Architecture(8, 8, 8, 2, 128, 16, noise=False)
SETTINGS = TrainingSettings(batch=8, ema_images=500, r1_gamma=0.1)


def ignore(_: TrainingProgress) -> None:
    """Report nothing."""


def colours(count: int = 64) -> np.ndarray:
    """Images of one flat colour each, near orange."""
    random = np.random.default_rng(0)
    flat = np.array([220, 120, 20]) + random.integers(-15, 16, (count, 1, 1, 3))
    return np.broadcast_to(flat, (count, 8, 8, 3)).astype(np.uint8)


def test_training_moves_samples_to_the_images(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    target = np.array([220, 120, 20])

    def distance() -> float:
        return float(np.abs(sample_images(trainer.average, 32, 0).mean(axis=(0, 1, 2)) - target).mean())

    before = distance()
    trainer.run(3200, ignore)
    assert distance() < min(30.0, 0.5 * before)


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    trainer.run(160, ignore)
    seen: list[TrainingProgress] = []
    again = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    assert again.shown == 160
    for name, value in trainer.average.state_dict().items():
        assert torch.equal(again.average.state_dict()[name], value)
    moments = trainer.generator_adam.state_dict()["state"][0]["exp_avg_sq"]
    assert torch.equal(again.generator_adam.state_dict()["state"][0]["exp_avg_sq"], moments)
    again.run(320, seen.append)
    assert again.shown == seen[-1].images == 320
    assert seen[-1].seconds > trainer.seconds


def test_kill_9_at_any_time_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    program = f"""
import numpy as np, torch
from pathlib import Path
from tests.models.test_training import SMALL, SETTINGS, colours
from models.training.trainer import Trainer
torch.set_num_threads(1)
trainer = Trainer(Path({str(tmp_path)!r}), SMALL, SETTINGS, colours(), "cpu")
trainer.run(10**9, lambda _: print("step", flush=True), checkpoint_every_s=0.0)
"""
    shown = 0
    for delay in (0.2, 0.33, 0.47):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path.cwd())
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        reached = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu").shown
        assert reached > shown
        shown = reached


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu").save()
    with pytest.raises(ValueError, match="of another architecture"):
        Trainer(tmp_path, Architecture(8, 8, 8, 3, 128, 16, noise=False), SETTINGS, colours(), "cpu")


def test_the_penalty_is_the_squared_gradient_norm(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    trainer.precision = torch.float32
    trainer.discriminator.double()
    real = torch.randn(1, 3, 8, 8, dtype=torch.float64)

    class Linear(torch.nn.Module):
        def forward(self, images: torch.Tensor, _precision: torch.dtype) -> torch.Tensor:
            return 3 * images.flatten(1).sum(dim=1)

    trainer.discriminator = Linear()
    # The gradient is 3 at each of 192 values: 9 · 192.
    assert float(trainer._penalty(real)) == pytest.approx(1728.0)


def test_the_learning_rate_falls_to_a_tenth_over_the_last_images(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    rates: list[float] = []

    def note_rate(trainer: Trainer) -> None:
        rates.append(trainer.generator_adam.param_groups[0]["lr"])

    trainer.run(160, ignore, snapshot=note_rate, snapshot_images=8, decay_images=80)
    assert rates[0] == SETTINGS.learning_rate
    assert rates[-1] == pytest.approx(0.1 * SETTINGS.learning_rate)
    assert rates == sorted(rates, reverse=True)


def test_a_run_leaves_sheets_weights_log_and_provenance(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    run = Run(trainer, "labelmint generator train", "flat colours")
    trainer.run(80, run.log, snapshot=run.snapshot, snapshot_images=40)
    assert sorted(p.name for p in (tmp_path / "sheets").iterdir()) == ["00000040.png", "00000080.png"]
    with Image.open(tmp_path / "sheets" / "00000080.png") as sheet:
        assert sheet.size == (12 * 8, 6 * 8)
    generator = load_generator(tmp_path / "weights.safetensors", torch.device("cpu"))
    assert np.abs(sample_images(generator, 4, 1).astype(int) - sample_images(trainer.average, 4, 1)).max() <= 2
    provenance = json.loads((tmp_path / "provenance.json").read_text())["generator"]
    assert provenance["images_shown"] == 80
    assert provenance["source"] == "flat colours"
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["images"] == 80


def test_minibatch_deviation_sees_a_collapse() -> None:
    x = torch.randn(8, 3, 4, 4)
    alike = minibatch_deviation(x[:1].expand(8, -1, -1, -1))
    assert torch.allclose(alike[:, 3], torch.full((8, 4, 4), 1e-4), atol=1e-6)
    # Groups are strided: image i shares one with i + 2, i + 4, i + 6.
    expected = (x[0::2].var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
    assert torch.allclose(minibatch_deviation(x)[0, 3], expected.expand(4, 4))


def test_the_discriminator_gives_one_logit_an_image() -> None:
    logits = Discriminator(SMALL)(torch.randn(8, 3, 8, 8), torch.bfloat16)
    assert logits.shape == (8,)
    assert logits.dtype == torch.float32


def test_batches_are_in_range_and_mirrored_half_the_time() -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    images[:, :, 0] = 255
    batch = draw_batch(images, np.random.default_rng(0), 200, True, torch.device("cpu"))
    assert batch.shape == (200, 3, 8, 8)
    assert (batch.min(), batch.max()) == (-1, 1)
    flipped = (batch[:, 0, 0, -1] == 1).float().mean()
    assert 0.35 < float(flipped) < 0.65
    straight = draw_batch(images, np.random.default_rng(0), 50, False, torch.device("cpu"))
    assert (straight[:, :, :, 0] == 1).all()


def test_a_folder_is_resized_and_cropped_and_bad_files_are_named(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (10, 20, 30)).save(tmp_path / "wide.png")
    Image.new("L", (16, 48), 77).save(tmp_path / "tall.jpg")
    images = load_folder(tmp_path, 16)
    assert images.shape == (2, 16, 16, 3)
    assert tuple(images[1, 8, 8]) == (10, 20, 30)
    (tmp_path / "zz.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"zz\.png: not a readable"):
        load_folder(tmp_path, 16)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no PNG or JPEG"):
        load_folder(tmp_path / "empty", 16)


def test_training_bears_are_rendered_once(tmp_path: Path) -> None:
    first = render_training_bears(3, 16, tmp_path)
    path = tmp_path / "bears-16-3.npy"
    stamp = path.stat().st_mtime_ns
    again = render_training_bears(3, 16, tmp_path)
    assert np.array_equal(first, again)
    assert path.stat().st_mtime_ns == stamp
