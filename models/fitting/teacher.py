"""A network that sees images, not features: it learns masks from the seeds as they are and from generated images.

What a labeler knows of a seed, it knows through the seed's inversion, which may lack what is small. This network learns
from the seed itself, and from many generated images with the labeler's own masks, whose errors differ from image to
image and so are not learnt by heart ("Noisy Student", Xie et al., CVPR 2020).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.device import sent, training_precision
from models.fitting.distortion import Maps, Strength, recolored, taken
from models.fitting.seed_features import at_once
from models.fitting.settings import FitSettings
from models.heads.segmentation import IGNORED
from models.seeded import seeded

SMALLEST_SIDE = 8
"""Of the innermost features."""

WIDTHS = (16, 32, 64, 96, 128)
"""Channels at full resolution, at half of it and so on."""

SEEDS_SHARES = (0.5, 1.0)
"""Of the first and of the last batch; in between, the share of seeds in a batch rises in a straight line."""

WARM_UP = 0.1
"""Of the training, while the learning rate rises."""

DECAY = 1e-2
"""Of the weights, by AdamW."""

AT_ONCE = 64
"""Images labeled at once, where they are not large."""


@dataclass(frozen=True)
class Pictures:
    """Images with masks, as a teacher sees them. images: float32 (N, 3, S, S) in [-1, 1]. masks: uint8 (N, S, S), 255
    unknown."""

    images: Tensor
    masks: Tensor

    @staticmethod
    def small(images: Tensor, masks: Tensor, side: int) -> "Pictures":
        """Images float32 (N, 3, R, R) and masks uint8 (N, R, R), made as small as `side` if they are larger."""
        if images.shape[-1] > side:
            images = F.interpolate(images, size=(side, side), mode="area")
            # In float32, for not every device interpolates bytes.
            masks = F.interpolate(masks[:, None].float(), size=(side, side), mode="nearest-exact")[:, 0].byte()
        return Pictures(images, masks)

    @staticmethod
    def joined(parts: Iterable["Pictures"]) -> "Pictures":
        """All of them, one after the other."""
        images, masks = zip(*((part.images, part.masks) for part in parts), strict=True)
        return Pictures(torch.cat(images), torch.cat(masks))

    def __len__(self) -> int:
        return len(self.images)


def conv_block(before: int, width: int, stride: int = 1) -> nn.Sequential:
    """3 × 3 convolution, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


class ImageNetwork(nn.Module):
    """A small U-Net (Ronneberger et al., 2015) in which what comes up is added to what was kept on the way down:
    images (B, 3, S, S) to logits float32 (B, classes, S, S)."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__()
        depth = max(1, (side // SMALLEST_SIDE).bit_length() - 1)
        widths = [WIDTHS[min(level, len(WIDTHS) - 1)] for level in range(depth + 1)]
        self.stem = conv_block(3, widths[0])
        self.down = nn.ModuleList(nn.Sequential(conv_block(a, b, 2), conv_block(b, b)) for a, b in pairwise(widths))
        self.narrow = nn.ModuleList(nn.Conv2d(deep, skip, 1) for skip, deep in pairwise(widths))
        self.up = nn.ModuleList(conv_block(skip, skip) for skip in widths[:-1])
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        kept = []
        for block in self.down:
            kept.append(x)
            x = block(x)
        for narrow, block, skip in zip(reversed(self.narrow), reversed(self.up), reversed(kept), strict=True):
            x = block(F.interpolate(narrow(x), size=skip.shape[-2:], mode="nearest") + skip)
        logits: Tensor = self.head(x)
        return logits.float()


class Teacher:
    """What `teach` makes: it labels images of the size it learnt from."""

    def __init__(self, network: ImageNetwork, mirror: Tensor | None, precision: torch.dtype) -> None:
        """
        Args:
            network: in evaluation mode.
            mirror: int64 (classes,), which class takes the place of each in a flipped image; None if unknown.
        """
        self.network, self.mirror, self.precision = network, mirror, precision

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Of each class, float32 (N, classes, S, S), for images (N, 3, S, S) in [-1, 1]; where flipping is known, the
        mean of what it says of the image and of its mirror image."""
        said = self._of(images)
        if self.mirror is None:
            return said
        return (said + self._of(images.flip(-1)).flip(-1)[:, self.mirror]) / 2

    def _of(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, self.precision, enabled=self.precision != torch.float32):
            logits: Tensor = self.network(images)
        return logits.softmax(dim=1)

    @torch.inference_mode()
    def masks(self, images: Tensor, side: int, least: float = 0.0, watch: Callable[[], None] = lambda: None) -> Tensor:
        """Masks uint8 (N, side, side) of images (N, 3, S, S); 255 where no class has a probability above `least`. One
        class is enlarged after the other, so that many of them take little more memory. `watch` is called now and then,
        and may raise."""
        found = []
        for some in images.split(at_once(images.shape[-1], AT_ONCE)):
            said = self.probabilities(some)
            best = said.new_full((len(some), side, side), least)
            masks = torch.full(best.shape, IGNORED, dtype=torch.uint8, device=said.device)
            for index, share in enumerate(said.unbind(dim=1)):
                if share.shape[-1] != side:
                    share = F.interpolate(share[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]
                ahead = share > best
                best, masks = torch.where(ahead, share, best), masks.masked_fill(ahead, index)
            found.append(masks)
            watch()
        return torch.cat(found)


def teach(
    seeds: Pictures,
    generated: Pictures,
    classes: int,
    mirror: Tensor | None,
    settings: FitSettings,
    random: torch.Generator,
    report: Callable[[int], None],
    start: Teacher | None = None,
) -> Teacher:
    """A network that has learnt from both, strongly distorted; the last batches are seeds alone.

    AdamW with a rate that rises and falls once (Smith, 2018); what comes out is the mean of the weights over the last
    tenth of the steps.

    Args:
        mirror: as in `Teacher`; None, and no image is flipped.
        random: decides what is drawn and how it is distorted.
        report: called with the steps done.
        start: whose weights to begin with, of images of the same size; by default random ones.
    """
    device, side = seeds.images.device, seeds.images.shape[-1]
    with seeded(settings.seed):
        network = ImageNetwork(classes, side).to(device).to(memory_format=torch.channels_last)
    if start is not None:
        network.load_state_dict(start.network.state_dict())
    # By a function, tensor by tensor: all at once, as it is done on GPUs, whole numbers among the buffers are refused.
    mean = torch.optim.swa_utils.AveragedModel(network, avg_fn=torch.optim.swa_utils.get_swa_avg_fn(), use_buffers=True)
    steps = settings.teacher_steps
    adam = torch.optim.AdamW(network.parameters(), lr=settings.teacher_rate, weight_decay=DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: _rate((step + 0.5) / steps))
    precision = training_precision(device)
    sources = [_Drawn(generated, random), _Drawn(seeds, random)]
    for step, of_seeds in enumerate(_seeds_of_batches(steps, settings.teacher_batch)):
        counts = (settings.teacher_batch - of_seeds, of_seeds)
        drawn = [source.next(count) for source, count in zip(sources, counts, strict=True) if count]
        images, masks = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        images, masks = _distorted(images, masks, mirror, random)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = network(images)
        total = F.cross_entropy(logits, masks, ignore_index=IGNORED, reduction="sum")
        loss = total / (masks != IGNORED).sum().clamp(min=1)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        schedule.step()
        if step >= steps - max(1, steps // 10):
            mean.update_parameters(network)
        report(step + 1)
    taught = mean.module.eval().requires_grad_(False)
    assert isinstance(taught, ImageNetwork)  # noqa: S101 - a copy of the network
    return Teacher(taught, mirror, precision)


def _rate(done: float) -> float:
    """Share of the largest learning rate when so much of the training is done, in [0, 1]: straight up during the first
    tenth, then half a cosine down to 0."""
    if done < WARM_UP:
        return done / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def _seeds_of_batches(steps: int, batch: int) -> list[int]:
    """How many images of each batch are seeds; where a share is no whole number, several batches average to it."""
    first, last = SEEDS_SHARES
    until = [int(batch * n * (first + (last - first) * n / (2 * steps)) + 0.5) for n in range(steps + 1)]
    return [after - before for before, after in pairwise(until)]


class _Drawn:
    """Images in a random order, all of them before any comes again."""

    def __init__(self, pictures: Pictures, random: torch.Generator) -> None:
        self.pictures, self.random = pictures, random
        self.order = torch.empty(0, dtype=torch.long)

    def next(self, count: int) -> tuple[Tensor, Tensor]:
        while len(self.order) < count:
            self.order = torch.cat([self.order, torch.randperm(len(self.pictures), generator=self.random)])
        rows, self.order = self.order[:count], self.order[count:]
        rows = sent(rows, self.pictures.images.device)
        return self.pictures.images[rows], self.pictures.masks[rows]


def _distorted(images: Tensor, masks: Tensor, mirror: Tensor | None, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """A distorted copy, and its masks int64 (B, S, S); what comes from outside an image is unknown."""
    strength = Strength()
    maps = Maps.draw(len(images), strength, random, flips=mirror is not None)
    places = maps.places(images.shape[-1], images.device)
    outside = (places.abs() > 1).any(dim=-1)
    moved = taken(masks[:, None].float(), places, "nearest")[:, 0].long()
    if mirror is not None:
        table = torch.arange(IGNORED + 1, device=masks.device)
        table[: len(mirror)] = mirror
        moved = torch.where(sent(maps.flip, masks.device)[:, None, None], table[moved], moved)
    return recolored(taken(images, places, "bilinear"), strength, random), moved.masked_fill(outside, IGNORED)
