"""What a training run leaves behind: sample sheets, its best generator with its provenance, distances and a log."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import torch

from models.generator import Generator
from models.pictures import grid, save_png, to_uint8
from models.provenance import describe_device, note_provenance
from models.training.evaluation import Evaluator
from models.training.snapshots import Evaluation, Snapshots
from models.training.start import save_discriminator
from models.training.trainer import Trainer, TrainingProgress

SHEET_SEED = 0
SHEET_COLUMNS, SHEET_ROWS = 12, 6

LOG_EVERY_S = 10.0


@torch.inference_mode()
def sample_images(generator: Generator, count: int, seed: int, truncation: float = 1.0) -> npt.NDArray[np.uint8]:
    """`count` samples as uint8 (count, R, R, 3); the same seed gives the same latents to every generator.

    Classes of a conditional generator take turns.
    """
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, generator.architecture.z_dim, generator=random).to(generator.mapping.w_avg.device)
    w = generator.mapping(z, truncation, generator.mapping.classes_in_turn(count))
    codes = generator.broadcast(w).split(generator.at_once(16))
    return to_uint8(torch.cat([generator.synthesis(chunk)[0] for chunk in codes]))


class Run:
    """Writes into the trainer's folder.

    `sheets/`: samples of the same latents at each snapshot; `images.png`: training images, to compare them with.
    `weights.safetensors`, `provenance.json`: the best generator so far. `snapshots/`: it and the last.
    `discriminator.safetensors`: the last one.
    `evaluations.json`: all distances. `log.jsonl`: figures over time.
    """

    def __init__(
        self,
        trainer: Trainer,
        evaluator: Evaluator | None,
        command: str,
        source: str,
        patience: int = 0,
        evaluation_share: float = 0.1,
        pulse: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            evaluator: None where the features that the run began with cannot be had: the best generator known stays the
                published one, and the run is never stopped early.
            command: as typed, for the provenance.
            source: what the images are, in words.
            patience: stop the trainer after so many evaluations that are no better than the best; 0 never does.
            evaluation_share: evaluations take no more than this share of the training's time; where they would, some
                are left out, though never the first or the last.
            pulse: called often while samples are evaluated; may raise to end the run.

        Raises:
            FeaturesDiffer: the run was evaluated with other features before.
        """
        self.folder, self.command, self.source = trainer.folder, command, source
        self.evaluator, self.share, self.pulse = evaluator, evaluation_share, pulse
        self.patience = patience if evaluator else 0
        self.stopped_early = False
        (self.folder / "sheets").mkdir(parents=True, exist_ok=True)
        features = evaluator.network.name if evaluator else Snapshots.features_of(self.folder)
        self.snapshots = Snapshots(self.folder, features or "")
        if self.snapshots.last:
            self._show(trainer, self.snapshots.last)
        first = trainer.images[: SHEET_COLUMNS * SHEET_ROWS]
        save_png(self.folder / "images.png", grid(np.array(first), SHEET_COLUMNS))
        self._logged = -math.inf
        self._evaluated, self._cost = 0.0, 0.0

    @staticmethod
    def _show(trainer: Trainer, evaluation: Evaluation) -> None:
        trainer.distance, trainer.features = evaluation.distance.frechet, evaluation.distance.features

    def log(self, progress: TrainingProgress) -> None:
        """Append a line of figures, every ten seconds and at the end; null is what was not measured."""
        now = time.monotonic()
        if now - self._logged < LOG_EVERY_S and progress.images < progress.target:
            return
        self._logged = now
        figures = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(progress).items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(figures) + "\n")

    def snapshot(self, trainer: Trainer) -> None:
        """Write a sheet of samples at these images shown, measure them, keep the generator, and publish the best."""
        images = sample_images(trainer.average, SHEET_COLUMNS * SHEET_ROWS, SHEET_SEED)
        save_png(self.folder / "sheets" / f"{trainer.shown:08d}.png", grid(images, SHEET_COLUMNS))
        started = time.monotonic()
        affordable = not self._cost or self._cost <= self.share * (started - self._evaluated)
        distance = None
        if self.evaluator and (affordable or trainer.at_target):
            distance = self.evaluator.measure(trainer.average, self.pulse)
            self._evaluated = time.monotonic()
            self._cost = self._evaluated - started
        self.snapshots.add(trainer.average, trainer.shown, trainer.probability.p, distance)
        save_discriminator(self.folder, trainer.discriminator, trainer.architecture)
        if self.snapshots.last:
            self._show(trainer, self.snapshots.last)
        self._note(trainer)
        if self.patience and self.snapshots.since_best >= self.patience:
            self.stopped_early = True
            trainer.stop()

    def keep(self, trainer: Trainer) -> None:
        """Before the run is left: see that there is a generator to be had, if only one that was not measured."""
        if self.snapshots.best is None:
            self.snapshots.add(trainer.average, trainer.shown, trainer.probability.p, None)
            self._note(trainer)

    def _note(self, trainer: Trainer) -> None:
        best = self.snapshots.best
        provenance = {
            "command": self.command,
            "source": self.source,
            "training_images": len(trainer.images),
            "images_shown": best.images if best else trainer.shown,
            "images_shown_in_all": trainer.shown,
            "distance": asdict(best.distance) if best else None,
            "wall_time_s": round(trainer.seconds, 1),
            "device": describe_device(trainer.device),
            "torch": torch.__version__,
            "settings": asdict(trainer.settings),
        }
        note_provenance(self.folder, "generator", provenance)
