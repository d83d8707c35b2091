"""The GAN training loop: non-saturating loss, lazy R1, style mixing, EMA, ADA; resumable after any kill."""

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architecture import Architecture
from models.device import choose_device, training_precision
from models.generator import Generator
from models.training.adaptive import AdaptiveProbability
from models.training.augmentation import augment
from models.training.batches import draw_batch
from models.training.checkpoints import read_checkpoint, write_checkpoint
from models.training.discriminator import Discriminator
from models.training.settings import TrainingSettings
from models.training.start import Start

LAZY_R1 = 16
"""The gradient penalty is taken every so many steps, and weighs as much more (StyleGAN2, section 4.1)."""

LAZY_SCALE = LAZY_R1 / (LAZY_R1 + 1)
"""Scales the discriminator's Adam as published for a penalty in steps of its own (StyleGAN2, appendix B); here the
penalty shares the step of the loss, so that this only lowers the rate by a seventeenth."""

BEHIND = 0.12
"""At this share of the discriminator's rate learns a generator that began without its own one. The new discriminator
knows far less than the generator; at the same rate it soon tells nothing apart any more, and the generator drifts."""

W_AVG_DECAY = 0.995

REPORT_EVERY_S = 2.0
"""Whoever watches, or wants the run to stop, waits no longer than this and one step."""


@dataclass(frozen=True)
class TrainingProgress:
    """What the progress line shows. images: shown so far, over all runs. images_per_s: of this run's training, without
    its evaluations. eta_s: wall time left at that rate. seconds: wall time over all runs. real, fake: mean logits. r1:
    mean squared gradient norm. p: probability of each augmentation. certainty: mean sign of the logits of real images,
    which `p` steers to the target. distance: Fréchet distance at the last evaluation, NaN before the first; features:
    which features it compares, "" before. NaN for what was not measured yet."""

    images: int
    target: int
    images_per_s: float
    eta_s: float
    seconds: float
    real: float
    fake: float
    r1: float
    p: float = 0.0
    certainty: float = float("nan")
    distance: float = float("nan")
    features: str = ""


class Trainer:
    """Trains one generator on an array of images; `run` goes on from the checkpoint in `folder` when there is one."""

    def __init__(
        self,
        folder: Path,
        architecture: Architecture,
        settings: TrainingSettings,
        images: npt.NDArray[np.uint8],
        device: str = "auto",
        start: Start | None = None,
    ) -> None:
        """
        Args:
            folder: holds the checkpoints; created when missing.
            images: (N, R, R, 3) at the architecture's resolution.
            start: weights to begin with, if `folder` holds no checkpoint.

        Raises:
            ValueError: the checkpoint in `folder`, or `start`, is of another architecture; or all checkpoints are
                damaged; or the architecture is class-conditional, which is not trained here.
        """
        if architecture.c_dim:
            raise ValueError("class-conditional generators cannot be trained here, only imported and used")
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
        self.shown = 0
        self.started, self.warm_until = False, 0
        self._set_rate(1.0)
        self.probability = AdaptiveProbability(settings)
        self.seconds = 0.0
        self.distance, self.features = float("nan"), ""
        self._stopping, self._target = False, 0
        folder.mkdir(parents=True, exist_ok=True)
        state = read_checkpoint(folder)
        if state is not None:
            self._restore(state)
        elif start is not None:
            self._begin_with(start)
        # A resumed run draws other latents than the run before it, yet the same ones every time it is resumed there.
        torch.manual_seed(settings.seed + self.shown)
        self.random = np.random.Generator(np.random.PCG64([settings.seed, self.shown]))
        self.dice = torch.Generator().manual_seed(settings.seed + self.shown)

    def _set_rate(self, share: float) -> None:
        """Let both networks learn at `share` of the settings' rate; the generator less, after a warm-up."""
        behind = 1.0
        if self.warm_until:
            since = self.shown - self.warm_until
            behind = BEHIND * min(1.0, max(0.02, 2 * since / self.settings.warm_up_images))
        self.generator_adam.param_groups[0]["lr"] = behind * share * self.settings.learning_rate
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
            "probability": self.probability.state(),
            "shown": self.shown,
            "seconds": self.seconds,
            "started": self.started,
            "warm_until": self.warm_until,
        }

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        write_checkpoint(self.folder, self._state())

    def _restore(self, state: dict[str, Any]) -> None:
        if Architecture(**state["architecture"]) != self.architecture:
            raise ValueError(f"the checkpoint in {self.folder} is of another architecture: {state['architecture']}")
        for name in ("generator", "discriminator", "average", "generator_adam", "discriminator_adam"):
            getattr(self, name).load_state_dict(state[name])
        self.shown, self.seconds = state["shown"], state["seconds"]
        # Checkpoints of before there was augmentation know none of these.
        if "probability" in state:
            self.probability.restore(state["probability"])
        self.started, self.warm_until = state.get("started", False), state.get("warm_until", 0)

    def _begin_with(self, start: Start) -> None:
        if start.architecture != self.architecture:
            wanted, found = self.architecture.to_dict(), start.architecture.to_dict()
            raise ValueError(f"the generator to start from is of another architecture: {found}, not {wanted}")
        self.generator.load_state_dict(start.generator)
        self.average.load_state_dict(start.average)
        self.started = True
        if start.discriminator is None:
            self.warm_until = self.settings.warm_up_images
        else:
            self.discriminator.load_state_dict(start.discriminator)

    def stop(self) -> None:
        """End `run` after the step it is in, as if the target were reached."""
        self._stopping = True

    @property
    def at_target(self) -> bool:
        """Whether the images that `run` was asked for have been shown."""
        return self.shown >= self._target

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

    def _judge(self, images: Tensor) -> Tensor:
        """Logits of images as the discriminator sees them: augmented."""
        logits: Tensor = self.discriminator(augment(images, self.probability.p, self.dice), self.precision)
        return logits

    def _penalty(self, real: Tensor) -> Tensor:
        """Mean over the batch of the squared norm of the logit's gradient at real images (Mescheder et al., 2018).

        The gradient goes back through the augmentation, to the images as they are on disk.
        """
        real = real.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self._judge(real).sum(), real, create_graph=True)
        return gradient.square().sum(dim=(1, 2, 3)).mean()

    def _follow_average(self) -> None:
        """Exponential moving average of the weights, with a short ramp at the start from random ones."""
        half_life = float(self.settings.ema_images)
        if not self.started:
            half_life = min(half_life, 0.05 * max(self.shown, 1))
        decay = 0.5 ** (self.settings.batch / max(half_life, 1e-8))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
            for kept, newest in zip(self.average.buffers(), self.generator.buffers(), strict=True):
                kept.copy_(newest)

    def _step(self, step: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """One update of both networks; the generator's images serve both.

        Returns mean logits, and R1 where taken, as numbers on the device: to read them is to wait for the step's end.
        """
        settings = self.settings
        warming_up = self.shown < self.warm_until
        with torch.set_grad_enabled(not warming_up):
            fake: Tensor
            fake, _ = self.generator.synthesis(self._latents(), self.precision, random_noise=True)
            fake = augment(fake, self.probability.p, self.dice)
        real = draw_batch(self.images, self.random, settings.batch, settings.mirror, self.device)

        self.discriminator.requires_grad_(True)
        self.discriminator_adam.zero_grad(set_to_none=True)
        real_logits = self._judge(real)
        fake_logits = self.discriminator(fake.detach(), self.precision)
        (F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()).backward()
        r1 = None
        if step % LAZY_R1 == 0:
            penalty = self._penalty(real)
            (penalty * (settings.r1_gamma / 2 * LAZY_R1)).backward()
            r1 = penalty.detach()
        self._update(self.discriminator, self.discriminator_adam)

        if not warming_up:
            self.discriminator.requires_grad_(False)
            self.generator_adam.zero_grad(set_to_none=True)
            F.softplus(-self.discriminator(fake, self.precision)).mean().backward()
            self._update(self.generator, self.generator_adam)
        self.shown += settings.batch
        if not warming_up:
            self._follow_average()
        self.probability.observe(real_logits)
        return real_logits.detach().mean(), fake_logits.detach().mean(), r1

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
            report: called every few seconds. It may raise, to end the run: a checkpoint is written first.
            snapshot: called with this trainer after every `snapshot_images` images and at the end; may call `stop`, and
                may raise likewise.
            decay_images: over the last so many images the learning rate falls linearly to a tenth.
        """
        self._target = target
        started, first, aside = time.monotonic(), self.shown, 0.0
        before, saved, reported = self.seconds, time.monotonic(), 0.0
        r1 = torch.tensor(torch.nan)
        done = self._stopping or self.at_target
        while not done:
            self._set_rate(min(1.0, max(0.1, (target - self.shown) / decay_images)) if decay_images else 1.0)
            step = self.shown // self.settings.batch
            real, fake, penalty = self._step(step)
            r1 = r1 if penalty is None else penalty
            self.seconds = before + time.monotonic() - started
            done = self.at_target or self._stopping
            if snapshot and (
                done or self.shown // snapshot_images > (self.shown - self.settings.batch) // snapshot_images
            ):
                paused = time.monotonic()
                self._saving(partial(snapshot, self))
                aside += time.monotonic() - paused
                done = done or self._stopping
            if step % LAZY_R1 == 0 or done or time.monotonic() - reported > REPORT_EVERY_S:
                reported = time.monotonic()
                rate = (self.shown - first) / (reported - started - aside)
                self._saving(partial(report, self._progress(target, rate, real.item(), fake.item(), r1.item())))
            if done or time.monotonic() - saved > checkpoint_every_s:
                self.save()
                saved = time.monotonic()

    def _progress(self, target: int, rate: float, real: float, fake: float, r1: float) -> TrainingProgress:
        left = max(0, target - self.shown) / rate
        control = self.probability
        return TrainingProgress(
            images=self.shown,
            target=target,
            images_per_s=rate,
            eta_s=left,
            seconds=self.seconds,
            real=real,
            fake=fake,
            r1=r1,
            p=control.p,
            certainty=control.certainty,
            distance=self.distance,
            features=self.features,
        )

    def _saving(self, call: Callable[[], None]) -> None:
        """What is called from a run may end it by raising; what was learnt is on disk by then."""
        try:
            call()
        except BaseException:
            self.save()
            raise
