"""The GAN training loop: non-saturating loss, lazy R1, style mixing, EMA; resumable after a kill at any instant."""

import copy
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.device import choose_device, training_precision
from models.generator import Architecture, Generator
from models.training.discriminator import Discriminator
from models.training.images import draw_batch

LAZY_R1 = 16
"""The gradient penalty is taken every so many steps, and weighs as much more (StyleGAN2, section 4.1)."""

LAZY_SCALE = LAZY_R1 / (LAZY_R1 + 1)
"""Scales the discriminator's Adam for the extra steps of the penalty (StyleGAN2, appendix B)."""

W_AVG_DECAY = 0.995


@dataclass(frozen=True)
class TrainingSettings:
    """batch: images a step. learning_rate: Adam's, for both networks. r1_gamma: weight of R1 on the squared gradient
    norm over the image. mixing: probability that two w share an image. ema_images: half-life of the weight average, in
    images. mirror: flip real images at random. seed: of weights, latents and batches."""

    batch: int = 32
    learning_rate: float = 2.5e-3
    r1_gamma: float = 0.3
    mixing: float = 0.5
    ema_images: int = 10_000
    mirror: bool = True
    seed: int = 0


@dataclass(frozen=True)
class TrainingProgress:
    """What the progress line shows. images: shown so far, over all runs. images_per_s: of this run. seconds: wall time
    over all runs. real, fake: mean logits. r1: mean squared gradient norm."""

    images: int
    target: int
    images_per_s: float
    seconds: float
    real: float
    fake: float
    r1: float


class Trainer:
    """Trains one generator on an array of images; `run` goes on from the checkpoint in `folder` when there is one."""

    def __init__(
        self,
        folder: Path,
        architecture: Architecture,
        settings: TrainingSettings,
        images: npt.NDArray[np.uint8],
        device: str = "auto",
    ) -> None:
        """
        Args:
            folder: holds `checkpoint.pt`; created when missing.
            images: (N, R, R, 3) at the architecture's resolution.

        Raises:
            ValueError: the checkpoint in `folder` is of another architecture.
        """
        self.folder, self.architecture, self.settings, self.images = folder, architecture, settings, images
        self.device = choose_device(device)
        self.precision = training_precision(self.device)
        torch.manual_seed(settings.seed)
        self.generator = Generator(architecture).to(self.device)
        self.discriminator = Discriminator(architecture).to(self.device)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.generator_adam = torch.optim.Adam(self.generator.parameters(), betas=(0.0, 0.99), eps=1e-8)
        self.discriminator_adam = torch.optim.Adam(
            self.discriminator.parameters(), betas=(0.0, 0.99**LAZY_SCALE), eps=1e-8
        )
        self._set_rate(1.0)
        self.shown = 0
        self.seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint_path.exists():
            self._restore()
        # A resumed run draws other latents than the run before it, yet the same ones every time it is resumed there.
        torch.manual_seed(settings.seed + self.shown)
        self.random = np.random.Generator(np.random.PCG64([settings.seed, self.shown]))

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint.pt"

    def _set_rate(self, share: float) -> None:
        """Let both networks learn at `share` of the settings' rate."""
        self.generator_adam.param_groups[0]["lr"] = share * self.settings.learning_rate
        self.discriminator_adam.param_groups[0]["lr"] = share * self.settings.learning_rate * LAZY_SCALE

    def _state(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture.to_dict(),
            "settings": asdict(self.settings),
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.state_dict(),
            "generator_adam": self.generator_adam.state_dict(),
            "discriminator_adam": self.discriminator_adam.state_dict(),
            "shown": self.shown,
            "seconds": self.seconds,
        }

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        partial = self.checkpoint_path.with_suffix(".partial")
        with partial.open("wb") as file:
            torch.save(self._state(), file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.checkpoint_path)

    def _restore(self) -> None:
        state = torch.load(self.checkpoint_path, map_location=self.device, weights_only=True)
        if state["architecture"] != self.architecture.to_dict():
            raise ValueError(f"{self.checkpoint_path} is of another architecture: {state['architecture']}")
        for name in ("generator", "discriminator", "average", "generator_adam", "discriminator_adam"):
            getattr(self, name).load_state_dict(state[name])
        self.shown, self.seconds = state["shown"], state["seconds"]

    def _latents(self) -> Tensor:
        """W+ codes of a batch, a share of them mixed from two w at a random style block; `w_avg` follows along."""
        batch, num_ws = self.settings.batch, self.architecture.num_ws
        z = torch.randn(2, batch, self.architecture.z_dim, device=self.device)
        w, other = self.generator.mapping(z[0]), self.generator.mapping(z[1])
        with torch.no_grad():
            self.generator.mapping.w_avg.lerp_(w.mean(dim=0), 1 - W_AVG_DECAY)
        crossover = torch.randint(1, num_ws, (batch, 1), device=self.device)
        mixes = torch.rand(batch, 1, device=self.device) < self.settings.mixing
        second = (torch.arange(num_ws, device=self.device) >= crossover) & mixes
        return torch.where(second.unsqueeze(-1), other.unsqueeze(1), w.unsqueeze(1))

    def _penalty(self, real: Tensor) -> Tensor:
        """Mean over the batch of the squared norm of the logit's gradient at real images (Mescheder et al., 2018)."""
        real = real.detach().requires_grad_(True)
        logits = self.discriminator(real, self.precision)
        (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        return gradient.square().sum(dim=(1, 2, 3)).mean()

    def _follow_average(self) -> None:
        """Exponential moving average of the weights, with a short ramp at the start."""
        half_life = min(self.settings.ema_images, 0.05 * max(self.shown, 1))
        decay = 0.5 ** (self.settings.batch / max(half_life, 1e-8))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
            for kept, newest in zip(self.average.buffers(), self.generator.buffers(), strict=True):
                kept.copy_(newest)

    def _step(self, step: int) -> tuple[float, float, float | None]:
        """One update of both networks; the generator's images serve both. Returns mean logits and R1 where taken."""
        settings = self.settings
        fake: Tensor
        fake, _ = self.generator.synthesis(self._latents(), self.precision, random_noise=True)
        real = draw_batch(self.images, self.random, settings.batch, settings.mirror, self.device)

        self.discriminator.requires_grad_(True)
        self.discriminator_adam.zero_grad(set_to_none=True)
        real_logits = self.discriminator(real, self.precision)
        fake_logits = self.discriminator(fake.detach(), self.precision)
        (F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()).backward()
        r1 = None
        if step % LAZY_R1 == 0:
            penalty = self._penalty(real)
            (penalty * (settings.r1_gamma / 2 * LAZY_R1)).backward()
            r1 = penalty.item()
        self._update(self.discriminator, self.discriminator_adam)

        self.discriminator.requires_grad_(False)
        self.generator_adam.zero_grad(set_to_none=True)
        F.softplus(-self.discriminator(fake, self.precision)).mean().backward()
        self._update(self.generator, self.generator_adam)
        self.shown += settings.batch
        self._follow_average()
        return real_logits.mean().item(), fake_logits.mean().item(), r1

    @staticmethod
    def _update(network: nn.Module, adam: torch.optim.Adam) -> None:
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(nan=0.0, posinf=1e5, neginf=-1e5)
        adam.step()

    def run(
        self,
        target: int,
        report: Callable[[TrainingProgress], None],
        checkpoint_every_s: float = 60.0,
        snapshot: Callable[["Trainer"], None] | None = None,
        snapshot_images: int = 20_000,
        decay_images: int = 0,
    ) -> None:
        """Train until `target` images were shown over all runs, with a checkpoint at least every so many seconds.

        Args:
            report: called after every 16 steps.
            snapshot: called with this trainer after every `snapshot_images` images and at the end.
            decay_images: over the last so many images the learning rate falls linearly to a tenth.
        """
        started, first = time.monotonic(), self.shown
        before, saved = self.seconds, time.monotonic()
        r1 = float("nan")
        while self.shown < target:
            if decay_images:
                self._set_rate(min(1.0, max(0.1, (target - self.shown) / decay_images)))
            step = self.shown // self.settings.batch
            real, fake, penalty = self._step(step)
            r1 = r1 if penalty is None else penalty
            self.seconds = before + time.monotonic() - started
            done = self.shown >= target
            if step % LAZY_R1 == 0 or done:
                rate = (self.shown - first) / (time.monotonic() - started)
                report(TrainingProgress(self.shown, target, rate, self.seconds, real, fake, r1))
            if snapshot and (
                done or self.shown // snapshot_images > (self.shown - self.settings.batch) // snapshot_images
            ):
                snapshot(self)
            if done or time.monotonic() - saved > checkpoint_every_s:
                self.save()
                saved = time.monotonic()
