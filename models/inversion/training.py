"""Training the encoder on the generator's own samples: first to find w, then to bring the image back.

Stage 1 regresses the code of samples drawn without end; stage 2 fine-tunes on LPIPS and squared error between G(w) and
G(E(G(w))), for a capped number of steps. No real image is needed.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.device import training_precision
from models.generator import Generator
from models.inversion.encoder import Encoder, EncoderArchitecture
from models.inversion.latents import LatentStatistics
from models.inversion.perceptual import PerceptualDistance


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
    """Trains an encoder for a frozen generator; `run` returns it."""

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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.encoder = Encoder(architecture).to(self.device)
        if start is not None:
            self.encoder.load_state_dict(start.state_dict())
        self.encoder.w_avg.copy_(latents.w_avg)
        self.encoder.w_std.copy_(latents.w_std)
        self.encoder.train().requires_grad_(True)

    @torch.no_grad()
    def _sample(self) -> tuple[Tensor, Tensor]:
        """W+ codes (B, num_ws, w_dim), some mixed, and their images, clamped as uint8 pixels would be."""
        batch, num_ws = self.settings.batch, self.generator.architecture.num_ws
        z = torch.randn(2 * batch, self.generator.architecture.z_dim, generator=self.random).to(self.device)
        w = self.generator.mapping(z).view(2, batch, 1, -1)
        crossover = torch.randint(1, num_ws, (batch, 1), generator=self.random).to(self.device)
        mixed = torch.rand(batch, 1, generator=self.random).to(self.device) < self.settings.mixing
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

    def run(self, report: Callable[[EncoderProgress], None]) -> Encoder:
        """Train both stages within their caps and return the frozen encoder.

        Args:
            report: called every 20 steps.
        """
        settings = self.settings
        everything = max(1, settings.steps_code + settings.steps_image)
        for stage, steps in ((1, settings.steps_code), (2, settings.steps_image)):
            peak = settings.learning_rate / stage
            limit_s, started = settings.time_limit_s * steps / everything, time.monotonic()
            adam = torch.optim.Adam(self.encoder.parameters(), lr=peak, betas=(0.9, 0.99))
            for step in range(steps):
                # Whichever cap comes first, the learning rate has fallen by then.
                spent = max(step / steps, (time.monotonic() - started) / limit_s)
                if spent >= 1:
                    break
                adam.param_groups[0]["lr"] = peak * max(0.02, 0.5 * (1 + math.cos(math.pi * spent)))
                total, code_error, pixel_error, distance = self._losses(stage)
                adam.zero_grad(set_to_none=True)
                total.backward()
                torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 5.0)
                adam.step()
                if step % 20 == 0 or step + 1 == steps:
                    # The range of pixel values is 2.
                    psnr = float(10 * torch.log10(4 / pixel_error))
                    report(EncoderProgress(stage, step + 1, steps, float(code_error), psnr, float(distance)))
        return self.encoder.eval().requires_grad_(False)
