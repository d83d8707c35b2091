"""Trainings short enough for tests: what they are fed, and how they are interrupted."""

import io
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from models.training.trainer import TrainingProgress
from workers import generator_train
from workers.workbench import Workbench


def zip_of_images(count: int = 110, broken: int = 0, copies: int = 0) -> bytes:
    """Pictures of noise, files that are none, and copies of the last picture."""
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            image = Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            with archive.open(f"pictures/{number:03d}.png", "w") as member:
                image.save(member, "PNG")
        for number in range(copies):
            with archive.open(f"pictures/copy-{number:02d}.png", "w") as member:
                image.save(member, "PNG")
        for number in range(broken):
            archive.writestr(f"pictures/broken-{number:02d}.png", b"no picture")
    return buffer.getvalue()


def cancel_when(bench: Workbench, monkeypatch: pytest.MonkeyPatch, ready: Callable[[TrainingProgress], bool]) -> None:
    """Cancel the job as its user would, once the training has got so far."""
    report = generator_train._Watch.report

    def cancelling(watch: generator_train._Watch, progress: TrainingProgress) -> None:
        if ready(progress) and not bench.ledger.is_cancelling("gen-job"):
            bench.ledger.cancel("gen-job")
        report(watch, progress)

    monkeypatch.setattr(generator_train._Watch, "report", cancelling)


def interrupt_after(bench: Workbench, monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    """Train until so many images were shown, and lose the worker; its run is in the store by then."""
    report = generator_train._Watch.report

    def losing_the_worker(watch: generator_train._Watch, progress: TrainingProgress) -> None:
        report(watch, progress)
        if progress.images >= images:
            raise KeyboardInterrupt

    options = generator_train.TrainingOptions
    with monkeypatch.context() as patch:
        patch.setattr(generator_train, "SAVE_EVERY_S", 0.0)
        patch.setattr(generator_train, "TrainingOptions", lambda **given: options(checkpoint_every_s=0.0, **given))
        patch.setattr("models.training.trainer.REPORT_EVERY_S", 0.0)
        patch.setattr(generator_train._Watch, "report", losing_the_worker)
        with pytest.raises(KeyboardInterrupt):
            generator_train.run("gen-job")
    assert bench.store.exists("trainings/gen-job/checkpoint.pt")
