"""The network that sees images: what it learns, what it is shown, and how it labels larger images."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from models.fitting import FitSettings
from models.fitting.teacher import ImageNetwork, Pictures, Teacher, teach

SIDE = 16
SETTINGS = FitSettings(teacher_steps=80, teacher_batch=8, teacher_rate=1e-2)
SIDES = torch.tensor([0, 2, 1])
"""Of the classes of `scenes`: the left block and the right one trade places."""


def scenes(count: int, seed: int) -> Pictures:
    """Dark images with two bright blocks of one colour, side by side: 1 is the left one, 2 the right one."""
    random = torch.Generator().manual_seed(seed)
    images = torch.full((count, 3, SIDE, SIDE), -0.5) + 0.1 * torch.randn(count, 3, SIDE, SIDE, generator=random)
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.uint8)
    for index in range(count):
        top, left, right = (int(torch.randint(0, most, (), generator=random)) for most in (10, 3, 3))
        for value, start in ((1, 1 + left), (2, 9 + right)):
            images[index, 0, top : top + 5, start : start + 4] = 0.8
            masks[index, top : top + 5, start : start + 4] = value
    return Pictures(images, masks)


def right_share(teacher: Teacher, pictures: Pictures) -> float:
    """Of the pixels that are in a block."""
    said, truth = teacher.masks(pictures.images, SIDE), pictures.masks
    return float((said == truth)[truth > 0].float().mean())


def taught(
    seeds: Pictures,
    generated: Pictures,
    mirror: torch.Tensor | None = SIDES,
    settings: FitSettings = SETTINGS,
    told: Callable[[int], None] = lambda _: None,
    start: Teacher | None = None,
) -> Teacher:
    return teach(seeds, generated, 3, mirror, settings, torch.Generator().manual_seed(0), told, start)


def test_it_learns_from_seeds_what_the_masks_of_generated_images_lack() -> None:
    """The generated images have no block of the right side labeled: only seeds tell of it."""
    seeds, generated, unseen = scenes(6, 1), scenes(40, 2), scenes(40, 3)
    poor = replace(generated, masks=generated.masks.masked_fill(generated.masks == 2, 0))
    assert right_share(taught(seeds, poor), unseen) > 0.8
    assert right_share(taught(poor, poor, None), unseen) < 0.6


def test_flipped_images_have_the_sides_of_their_labels_exchanged() -> None:
    """Flipping without exchanging would teach both names of both blocks."""
    seeds, unseen = scenes(10, 1), scenes(40, 3)
    assert right_share(taught(seeds, seeds), unseen) > 0.9
    assert right_share(taught(seeds, seeds, torch.arange(3)), unseen) < 0.8


def test_what_it_says_is_the_mean_over_an_image_and_its_mirror_image() -> None:
    torch.manual_seed(0)
    network, images = ImageNetwork(3, SIDE).eval(), torch.randn(2, 3, SIDE, SIDE)
    straight, flipped = network(images).softmax(1), network(images.flip(-1)).softmax(1).flip(-1)
    wanted = torch.stack([straight[:, value] + flipped[:, other] for value, other in enumerate(SIDES)], dim=1) / 2
    said = Teacher(network, SIDES, torch.float32).probabilities(images)
    torch.testing.assert_close(said, wanted)
    assert not torch.allclose(said, straight, atol=1e-3)
    torch.testing.assert_close(Teacher(network, None, torch.float32).probabilities(images), straight)


@pytest.mark.parametrize("least", [0.0, 0.24])
def test_masks_of_larger_images_are_those_of_its_probabilities_upsampled(least: float) -> None:
    torch.manual_seed(0)
    teacher = Teacher(ImageNetwork(5, SIDE).eval(), None, torch.float32)
    images = 3 * torch.randn(3, 3, SIDE, SIDE)
    large = F.interpolate(teacher.probabilities(images), size=(40, 40), mode="bilinear", align_corners=False)
    best, wanted = large.max(dim=1)
    masks = teacher.masks(images, 40, least)
    assert masks.dtype == torch.uint8
    assert torch.equal(masks, wanted.masked_fill(best <= least, 255).byte())
    assert (least == 0) == bool((masks != 255).all()) and masks.unique().numel() > 2


def test_large_images_are_made_small_and_small_ones_stay() -> None:
    images, masks = torch.randn(2, 3, 32, 32), torch.randint(0, 5, (2, 32, 32), dtype=torch.uint8)
    masks[0, :8] = 255
    small = Pictures.small(images, masks, 16)
    torch.testing.assert_close(small.images, images.unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean(dim=(3, 5)))
    assert torch.equal(small.masks, masks[:, 1::2, 1::2]) and small.masks.dtype == torch.uint8
    same = Pictures.small(images, masks, 64)
    assert same.images is images and same.masks is masks


def test_it_is_the_same_every_time_and_its_steps_are_told() -> None:
    seeds, generated, told = scenes(3, 1), scenes(4, 2), list[int]()
    short = replace(SETTINGS, teacher_steps=5)
    first, second = (taught(seeds, generated, None, short, told.append) for _ in range(2))
    assert told == [1, 2, 3, 4, 5] * 2
    assert torch.equal(first.probabilities(seeds.images), second.probabilities(seeds.images))


def test_it_goes_on_from_another_teacher() -> None:
    seeds, unseen, short = scenes(10, 1), scenes(40, 3), replace(SETTINGS, teacher_steps=5, teacher_rate=1e-3)
    start = taught(seeds, seeds)
    before = start.probabilities(unseen.images)
    assert right_share(taught(seeds, seeds, settings=short, start=start), unseen) > 0.9
    assert right_share(taught(seeds, seeds, settings=short), unseen) < 0.5
    assert torch.equal(start.probabilities(unseen.images), before)


def test_pictures_of_which_nothing_is_known_teach_nothing_and_break_nothing() -> None:
    seeds = scenes(3, 1)
    unknown = replace(seeds, masks=torch.full_like(seeds.masks, 255))
    said = taught(unknown, unknown, None, replace(SETTINGS, teacher_steps=3))
    assert said.probabilities(seeds.images).isfinite().all()
