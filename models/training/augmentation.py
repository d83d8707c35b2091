"""The augmentations of ADA (Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020).

Real and generated images alike are changed at random before the discriminator sees them. Each change happens with
probability p an image; below p of about 0.8 none of them leaks into what the generator draws. All changes of place make
one matrix an image and all changes of colour another, so an image is sampled once, whatever happens to it.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.device import sent
from models.training.resampling import resample

TRANSLATION = 0.125
"""Largest whole-pixel shift, and standard deviation of the fractional one, as shares of the image's side."""

SCALE = 0.2
"""Standard deviation of the logarithm to base 2 of both scalings."""

BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0
"""Standard deviations: of what is added to the colours, and of the logarithm to base 2 of the factors."""


@dataclass(frozen=True)
class Changes:
    """What happens to each image of a batch, float64 on the CPU.

    places: (B, 3, 3), from a place in the output to the one in the input that is shown there, in pixels from the
    image's centre, x right and y down. colors: (B, 3, 4), from (R, G, B, 1) to (R, G, B), in the images' own range
    [-1, 1].
    """

    places: Tensor
    colors: Tensor


def _matrices(batch: int, size: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64).repeat(batch, 1, 1)


def _translations(x: Tensor, y: Tensor) -> Tensor:
    matrices = _matrices(len(x), 3)
    matrices[:, 0, 2], matrices[:, 1, 2] = x, y
    return matrices


def _scalings(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def _rotations(angles: Tensor) -> Tensor:
    matrices = _matrices(len(angles), 3)
    matrices[:, 0, 0] = matrices[:, 1, 1] = angles.cos()
    matrices[:, 1, 0] = angles.sin()
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return matrices


def _quarter_turns(turns: Tensor) -> Tensor:
    """Exact, so that what moves by whole pixels alone can be told from what does not."""
    cosines = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=torch.float64)
    matrices = _matrices(len(turns), 3)
    matrices[:, 0, 0] = matrices[:, 1, 1] = cosines[turns]
    matrices[:, 1, 0] = cosines[(turns + 3) % 4]
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return matrices


class _Dice:
    """Draws a batch's values, on the CPU, so that every device sees the same changes."""

    def __init__(self, batch: int, random: torch.Generator) -> None:
        self.batch, self.random = batch, random

    def uniform(self) -> Tensor:
        return torch.rand(self.batch, generator=self.random, dtype=torch.float64)

    def normal(self) -> Tensor:
        return torch.randn(self.batch, generator=self.random, dtype=torch.float64)

    def integer(self, count: int) -> Tensor:
        return torch.randint(count, (self.batch,), generator=self.random)

    def choose(self, p: float, values: Tensor, otherwise: float = 0.0) -> Tensor:
        """`values`, each with probability p, else `otherwise`."""
        return torch.where(self.uniform() < p, values, torch.full_like(values, otherwise))


def _draw_places(dice: _Dice, p: float, side: int) -> Tensor:
    """Inverses of the paper's changes in its order: what the output's pixels show is looked up in the input."""
    mirror = 1.0 - 2.0 * dice.choose(p, dice.integer(2).double())
    places = _scalings(mirror, torch.ones_like(mirror))
    places = places @ _quarter_turns(dice.choose(p, dice.integer(4)))
    shifted = dice.uniform() < p
    whole = [((2 * dice.uniform() - 1) * TRANSLATION * side).round() * shifted for _ in "xy"]
    places = places @ _translations(*whole)

    factor = dice.choose(p, 2 ** (SCALE * dice.normal()), 1.0)
    places = places @ _scalings(1 / factor, 1 / factor)
    # Before and after the anisotropic scaling, so that some rotation happens with probability p.
    p_rotation = 1 - math.sqrt(1 - p)
    places = places @ _rotations(dice.choose(p_rotation, (2 * dice.uniform() - 1) * math.pi))
    factor = dice.choose(p, 2 ** (SCALE * dice.normal()), 1.0)
    places = places @ _scalings(1 / factor, factor)
    places = places @ _rotations(dice.choose(p_rotation, (2 * dice.uniform() - 1) * math.pi))
    shifted = dice.uniform() < p
    fractional = [dice.normal() * TRANSLATION * side * shifted for _ in "xy"]
    return places @ _translations(*fractional)


def _draw_colors(dice: _Dice, p: float) -> Tensor:
    """The paper's changes of colour, in its order; `grey` is the axis on which red, green and blue are alike."""
    grey = torch.ones(3, dtype=torch.float64) / math.sqrt(3)
    along = torch.outer(grey, grey)
    across = torch.eye(3, dtype=torch.float64) - along

    brightness = dice.choose(p, BRIGHTNESS * dice.normal())
    contrast = dice.choose(p, 2 ** (CONTRAST * dice.normal()), 1.0)
    linear = torch.eye(3, dtype=torch.float64) * contrast[:, None, None]
    offset = (brightness * contrast)[:, None].expand(-1, 3)

    luma_flip = 2.0 * dice.choose(p, dice.integer(2).double())
    turn = torch.eye(3, dtype=torch.float64) - luma_flip[:, None, None] * along
    angle = dice.choose(p, (2 * dice.uniform() - 1) * math.pi)[:, None, None]
    x, y, z = grey.tolist()
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    turn = (along + across * angle.cos() + cross * angle.sin()) @ turn  # Rodrigues' rotation about grey
    saturation = dice.choose(p, 2 ** (SATURATION * dice.normal()), 1.0)[:, None, None]
    turn = (along + across * saturation) @ turn
    return torch.cat([turn @ linear, turn @ offset.unsqueeze(-1)], dim=2)


def draw_changes(batch: int, p: float, side: int, random: torch.Generator) -> Changes:
    """The changes of a batch of square images of `side` pixels, each with probability p an image.

    Args:
        random: a generator of the CPU.

    Raises:
        ValueError: p is outside [0, 1].
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"augmentation probability {p}: must be from 0 to 1")
    dice = _Dice(batch, random)
    return Changes(_draw_places(dice, p, side), _draw_colors(dice, p))


def _grid(places: Tensor, side: int, like: Tensor) -> Tensor:
    """For `resample`: where each output pixel's centre lies in the input, in units of half the side."""
    places = places[:, :2].clone()
    places[:, :, 2] *= 2 / side
    on_device = sent(places.to(like.dtype), like.device)
    return F.affine_grid(on_device, [len(places), 1, side, side], align_corners=False)


def _look_up(images: Tensor, places: Tensor) -> Tensor:
    """Move by whole pixels, quarter turns and mirroring alone: each output pixel is one input pixel, unchanged."""
    side = images.shape[-1]
    centres = torch.arange(side, dtype=torch.float64, device=images.device) + 0.5 - side / 2
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    rows = sent(places[:, :2], images.device) @ torch.stack([x.flatten(), y.flatten(), torch.ones_like(x).flatten()])
    pixels = (rows + (side - 1) / 2).round().long() % (2 * side)
    pixels = torch.where(pixels < side, pixels, 2 * side - 1 - pixels)
    index = (pixels[:, 1] * side + pixels[:, 0]).unsqueeze(1).expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).view_as(images)


def _move(images: Tensor, places: Tensor) -> Tensor:
    """Only images that leave the pixel lattice are resampled; the others stay as sharp as they are."""
    on_lattice = (places == places.round()).all(dim=2).all(dim=1)
    still = (places == _matrices(1, 3)).all(dim=2).all(dim=1)
    groups = [(~on_lattice).nonzero().flatten(), (on_lattice & ~still).nonzero().flatten(), still.nonzero().flatten()]
    order = sent(torch.cat(groups).argsort(), images.device)
    free, lattice, same = (images[sent(rows, images.device)] for rows in groups)
    if len(free):
        free = resample(free, _grid(places[groups[0]], images.shape[-1], free))
    if len(lattice):
        lattice = _look_up(lattice, places[groups[1]])
    return torch.cat([free, lattice, same])[order]


def apply_changes(images: Tensor, changes: Changes) -> Tensor:
    """Move, then recolour.

    Args:
        images: (B, 3, R, R) in [-1, 1], float32 or float64.

    Returns:
        The same shape and type; places beyond the edges show the image mirrored, colours may leave [-1, 1].
    """
    moved = _move(images, changes.places)
    colors = sent(changes.colors.to(images.dtype), images.device)
    recolored = torch.baddbmm(colors[:, :, 3:], colors[:, :, :3], moved.flatten(2)).view_as(images)
    unchanged = (changes.colors[:, :, :3] == _matrices(1, 3)).all(dim=2).all(dim=1)
    unchanged &= (changes.colors[:, :, 3] == 0).all(dim=1)
    return torch.where(sent(unchanged, images.device)[:, None, None, None], moved, recolored)


def augment(images: Tensor, p: float, random: torch.Generator) -> Tensor:
    """`images` (B, 3, R, R) in [-1, 1] changed at random; with p 0 they are returned as they are."""
    if p == 0.0:
        return images
    return apply_changes(images, draw_changes(len(images), p, images.shape[-1], random))
