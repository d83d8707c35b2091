"""Training the encoder on the generator's own samples: first to find w, then to bring the image back.

Stage 1 regresses the code of samples drawn without end; stage 2 fine-tunes on LPIPS and squared error between G(w) and
G(E(G(w))), for a capped number of steps. No real image is needed. Classes of a conditional generator are drawn evenly.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from models.device import sent, training_precision
from models.generator import Generator
from models.inversion.encoder import Encoder, EncoderArchitecture
from models.inversion.latents import LatentStatistics
from models.inversion.perceptual import PerceptualDistance
from models.seeded import seeded

REPORT_EVERY_S = 5.0
"""Whoever watches, or wants the training to stop, waits no longer than this and one step."""


@dataclass(frozen=True)
class EncoderSettings:
    """steps_code, steps_image: length of the two stages. time_limit_s: wall time for both together; what was reached
    by then is kept, each stage having its share. batch: images a step. learning_rate: Adam's, falling along a cosine in
    each stage. mixing: share of samples whose code mixes two w. lpips_weight, pixel_weight, code_weight: of stage 2."""

    steps_code: int = 6000
    steps_image: int = 3000
    time_limit_s: float = 3600.0
    batch: int = 32
    learning_rate: float = 2e-3
    mixing: float = 0.3
    lpips_weight: float = 10.0
    pixel_weight: float = 10.0
    code_weight: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class EncoderProgress:
    """stage: 1 or 2. code_error: mean squared error of the code in standard deviations of w. psnr_db: of the
    reconstruction of samples, NaN in stage 1. lpips: likewise."""

    stage: int
    step: int
    steps: int
    code_error: float
    psnr_db: float
    lpips: float


class EncoderTraining:
    """Trains an encoder for a frozen generator; `run` returns it, and goes on from where `restore` put it."""

    def __init__(
        self,
        generator: Generator,
        latents: LatentStatistics,
        perceptual: PerceptualDistance,
        settings: EncoderSettings,
        start: Encoder | None = None,
    ) -> None:
        """
        Args:
            start: an encoder to go on from, of the architecture that `EncoderArchitecture.for_generator` gives.
        """
        self.generator, self.settings, self.perceptual = generator, settings, perceptual
        self.device = latents.w_avg.device
        self.precision = training_precision(self.device)
        self.random = torch.Generator().manual_seed(settings.seed)
        architecture = EncoderArchitecture.for_generator(generator.architecture)
        with seeded(settings.seed):
            self.encoder = Encoder(architecture).to(self.device)
        if start is not None:
            self.encoder.load_state_dict(start.state_dict())
        self.encoder.w_avg.copy_(latents.w_avg)
        self.encoder.w_std.copy_(latents.w_std)
        self.encoder.train().requires_grad_(True)
        self._enter(1)

    @torch.no_grad()
    def _sample(self) -> tuple[Tensor, Tensor]:
        """W+ codes (B, num_ws, w_dim), some mixed, and their images, clamped as uint8 pixels would be."""
        batch, num_ws = self.settings.batch, self.generator.architecture.num_ws
        z = sent(torch.randn(2 * batch, self.generator.architecture.z_dim, generator=self.random), self.device)
        classes = self.generator.mapping.random_classes(len(z), self.random)
        w = self.generator.mapping(z, c=classes).view(2, batch, 1, -1)
        crossover = sent(torch.randint(1, num_ws, (batch, 1), generator=self.random), self.device)
        mixed = sent(torch.rand(batch, 1, generator=self.random) < self.settings.mixing, self.device)
        second = (torch.arange(num_ws, device=self.device) >= crossover) & mixed
        codes = torch.where(second.unsqueeze(-1), w[1], w[0])
        images, _ = self.generator.synthesis(codes, self.precision)
        return codes, images.clamp_(-1, 1)

    def _losses(self, stage: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Total loss, and the mean code error, squared pixel error and LPIPS of one batch."""
        codes, images = self._sample()
        found = self.encoder(images, self.precision)
        code_error = ((found - codes) / self.encoder.w_std).square().mean()
        if stage == 1:
            unknown = torch.full((), torch.nan)
            return code_error, code_error.detach(), unknown, unknown
        again, _ = self.generator.synthesis(found, self.precision)
        pixel_error = (again - images).square().mean()
        distance = self.perceptual(again, images).mean()
        weights = self.settings
        total = weights.lpips_weight * distance + weights.pixel_weight * pixel_error + weights.code_weight * code_error
        return total, code_error.detach(), pixel_error.detach(), distance.detach()

    def run(
        self,
        report: Callable[[EncoderProgress], None],
        keep: Callable[[dict[str, Any]], None] | None = None,
        keep_every_s: float = 120.0,
    ) -> Encoder:
        """Train both stages within their caps and return the frozen encoder.

        Args:
            report: called every 20 steps, and at least every few seconds. May raise, to end the training.
            keep: called with `state()` every `keep_every_s` seconds.
        """
        for stage in (1, 2):
            if stage > self.stage:
                self._enter(stage)
            if stage == self.stage:
                self._run_stage(report, keep, keep_every_s)
        return self.encoder.eval().requires_grad_(False)

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on from here, as tensors and plain values."""
        return {
            "settings": asdict(self.settings),
            "architecture": asdict(self.encoder.architecture),
            "stage": self.stage,
            "step": self.step,
            "seconds": self.seconds,
            "encoder": self.encoder.state_dict(),
            "adam": self.adam.state_dict(),
            "random": self.random.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> bool:
        """Go on from what `state` returned.

        False, and nothing changes, if it was trained with other settings or is of another encoder's architecture.
        Raises `ValueError`, `KeyError` or `RuntimeError` if it is damaged; this training begins at its first step then.
        """
        known = (state["settings"], state.get("architecture"))
        if known != (asdict(self.settings), asdict(self.encoder.architecture)):
            return False
        self._enter(state["stage"])
        try:
            self.encoder.load_state_dict(state["encoder"])
            self.adam.load_state_dict(state["adam"])
            self.random.set_state(state["random"])
        except BaseException:
            self._enter(1)
            raise
        # Last: whatever fails before, no steps count as done that these weights have not seen.
        self.step, self.seconds = state["step"], state["seconds"]
        return True

    def _enter(self, stage: int) -> None:
        self.stage, self.step, self.seconds = stage, 0, 0.0
        peak = self.settings.learning_rate / stage
        self.adam: torch.optim.Adam = torch.optim.Adam(self.encoder.parameters(), lr=peak, betas=(0.9, 0.99))

    def _run_stage(
        self,
        report: Callable[[EncoderProgress], None],
        keep: Callable[[dict[str, Any]], None] | None,
        keep_every_s: float,
    ) -> None:
        settings = self.settings
        steps = settings.steps_code if self.stage == 1 else settings.steps_image
        peak = settings.learning_rate / self.stage
        limit_s = settings.time_limit_s * steps / max(1, settings.steps_code + settings.steps_image)
        before, started = self.seconds, time.monotonic()
        kept = reported = started
        while self.step < steps:
            self.seconds = before + time.monotonic() - started
            # Whichever cap comes first, the learning rate has fallen by then.
            spent = max(self.step / steps, self.seconds / limit_s)
            if spent >= 1:
                break
            self.adam.param_groups[0]["lr"] = peak * max(0.02, 0.5 * (1 + math.cos(math.pi * spent)))
            total, code_error, pixel_error, distance = self._losses(self.stage)
            self.adam.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 5.0)
            self.adam.step()
            self.step += 1
            if self.step % 20 == 1 or self.step == steps or time.monotonic() - reported > REPORT_EVERY_S:
                reported = time.monotonic()
                # The range of pixel values is 2.
                psnr = float(10 * torch.log10(4 / pixel_error))
                report(EncoderProgress(self.stage, self.step, steps, float(code_error), psnr, float(distance)))
            if keep and time.monotonic() - kept > keep_every_s:
                keep(self.state())
                kept = time.monotonic()
