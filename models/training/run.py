"""What a training run leaves behind: sample sheets, the averaged generator, its provenance and a log."""

import json
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import torch

from models.checkpoint import half, save_tensors
from models.generator import Generator
from models.pictures import grid, save_png, to_uint8
from models.provenance import describe_device, note_provenance
from models.training.trainer import Trainer, TrainingProgress

SHEET_SEED = 0
SHEET_COLUMNS, SHEET_ROWS = 12, 6


@torch.inference_mode()
def sample_images(generator: Generator, count: int, seed: int, truncation: float = 1.0) -> npt.NDArray[np.uint8]:
    """`count` samples as uint8 (count, R, R, 3); the same seed gives the same latents to every generator."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, generator.architecture.z_dim, generator=random).to(generator.mapping.w_avg.device)
    return to_uint8(torch.cat([generator(chunk, truncation) for chunk in z.split(16)]))


class Run:
    """Writes into the trainer's folder: `sheets/`, `weights.safetensors`, `provenance.json`, `log.jsonl`."""

    def __init__(self, trainer: Trainer, command: str, source: str) -> None:
        """
        Args:
            command: as typed, for the provenance.
            source: what the images are, in words.
        """
        self.folder, self.command, self.source = trainer.folder, command, source
        (self.folder / "sheets").mkdir(parents=True, exist_ok=True)

    def log(self, progress: TrainingProgress) -> None:
        """Append one line of figures."""
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(asdict(progress)) + "\n")

    def snapshot(self, trainer: Trainer) -> None:
        """Write a sheet of samples at these images shown, and the averaged generator with its provenance."""
        images = sample_images(trainer.average, SHEET_COLUMNS * SHEET_ROWS, SHEET_SEED)
        save_png(self.folder / "sheets" / f"{trainer.shown:08d}.png", grid(images, SHEET_COLUMNS))
        facts = {"architecture": trainer.architecture.to_dict()}
        save_tensors(self.folder / "weights.safetensors", half(trainer.average.state_dict()), "generator", facts)
        provenance = {
            "command": self.command,
            "source": self.source,
            "images_shown": trainer.shown,
            "wall_time_s": round(trainer.seconds, 1),
            "device": describe_device(trainer.device),
            "torch": torch.__version__,
            "settings": asdict(trainer.settings),
        }
        note_provenance(self.folder, "generator", provenance)
