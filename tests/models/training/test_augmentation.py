"""The augmentations against formulas written down a second time, in float64."""

import colorsys
import math

import numpy as np
import pytest
import torch

from models.training import augmentation
from models.training.augmentation import Changes, apply_changes, augment, draw_changes

SIDE = 16
IDENTITY_COLORS = torch.cat([torch.eye(3), torch.zeros(3, 1)], dim=1).double()


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 1, side: int = SIDE) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=dice(3), dtype=torch.float64) * 2 - 1


def moved(images: torch.Tensor, place: list[list[float]]) -> torch.Tensor:
    places = torch.tensor([*place, [0.0, 0.0, 1.0]], dtype=torch.float64).repeat(len(images), 1, 1)
    return apply_changes(images, Changes(places, IDENTITY_COLORS.repeat(len(images), 1, 1)))


def only(monkeypatch: pytest.MonkeyPatch, happens: list[bool]) -> None:
    """Let the changes happen or not as listed, in the order in which they are asked for."""
    asked = iter(happens)

    def choose(self: augmentation._Dice, p: float, values: torch.Tensor, otherwise: float = 0.0) -> torch.Tensor:
        return values if next(asked) else torch.full_like(values, otherwise)

    monkeypatch.setattr(augmentation._Dice, "choose", choose)


def test_with_p_0_images_stay_as_they_are_bit_for_bit() -> None:
    images = pictures(8).float()
    assert torch.equal(augment(images, 0.0, dice()), images)
    assert torch.equal(apply_changes(images, draw_changes(8, 0.0, SIDE, dice())), images)


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_a_probability_that_is_none_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="augmentation probability"):
        draw_changes(1, p, SIDE, dice())


def test_mirroring_quarter_turns_and_whole_shifts_are_exact() -> None:
    images = pictures(2).float()
    assert torch.equal(moved(images, [[-1, 0, 0], [0, 1, 0]]), images.flip(3))
    assert torch.equal(moved(images, [[0, -1, 0], [1, 0, 0]]), images.rot90(1, (2, 3)))
    assert torch.equal(moved(images, [[-1, 0, 0], [0, -1, 0]]), images.rot90(2, (2, 3)))
    shifted = moved(images, [[1, 0, 3], [0, 1, -2]])
    assert torch.equal(shifted[:, :, 2:, :-3], images[:, :, :-2, 3:])
    padded = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="symmetric"))
    assert torch.equal(shifted, padded[:, :, 2:18, 7:23])


def test_what_is_resampled_follows_its_matrix() -> None:
    """A smooth wave is known everywhere, so a turned and scaled picture of it can be computed directly."""
    side = 64
    centres = torch.arange(side, dtype=torch.float64) + 0.5 - side / 2
    y, x = torch.meshgrid(centres, centres, indexing="ij")

    def wave(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.cos(0.21 * x + 0.1), torch.sin(0.17 * y), torch.cos(0.1 * (x + y))])

    angle, scale = 0.4, 1.2
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    shown = moved(wave(x, y).unsqueeze(0), [[cosine, -sine, 2.3], [sine, cosine, -1.6]])[0]
    expected = wave(cosine * x - sine * y + 2.3, sine * x + cosine * y - 1.6)
    middle = (x.square() + y.square()).sqrt() < 24
    assert (shown - expected).abs().amax(dim=0)[middle].max() < 0.015


def test_images_that_leave_the_lattice_do_not_change_those_beside_them() -> None:
    images = pictures(3).float()
    places = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    places[0, 0, 2], places[2, 0, 0] = 0.5, -1.0
    result = apply_changes(images, Changes(places, IDENTITY_COLORS.repeat(3, 1, 1)))
    assert torch.equal(result[1], images[1])
    assert torch.equal(result[2], images[2].flip(2))
    assert not torch.equal(result[0], images[0])


@pytest.mark.parametrize("change", range(5))
def test_colours_follow_their_formulas(monkeypatch: pytest.MonkeyPatch, change: int) -> None:
    only(monkeypatch, [change == i for i in range(5)])
    colors = augmentation._draw_colors(augmentation._Dice(4, dice(1)), 0.5)
    random = augmentation._Dice(4, dice(1))
    brightness, contrast = 0.2 * random.normal(), 2 ** (0.5 * random.normal())
    flip, angle, saturation = random.integer(2), (2 * random.uniform() - 1) * math.pi, 2 ** random.normal()
    images = pictures(4)
    changed = apply_changes(images, Changes(torch.eye(3, dtype=torch.float64).repeat(4, 1, 1), colors))
    grey = images.mean(dim=1, keepdim=True)
    column = (slice(None), None, None, None)
    if change == 0:
        expected = images + brightness[column]
    elif change == 1:
        expected = images * contrast[column]
    elif change == 2:
        expected = torch.where(flip[column] == 1, images - 2 * grey, images)
        assert 0 < flip.sum() < 4
    elif change == 3:
        axis = np.ones(3) / math.sqrt(3)
        turned = [_turned(image, axis, float(turn)) for image, turn in zip(images.numpy(), angle, strict=True)]
        expected = torch.from_numpy(np.stack(turned))
    else:
        expected = grey + (images - grey) * saturation[column]
    assert torch.allclose(changed, expected, atol=1e-12)
    assert not torch.allclose(changed, images, atol=1e-3)


def _turned(image: np.ndarray, axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' rotation of each pixel's colour, by cross products."""
    colors = image.reshape(3, -1).T
    along = np.outer(colors @ axis, axis)
    turned = along + np.cos(angle) * (colors - along) + np.sin(angle) * np.cross(axis, colors)
    return turned.T.reshape(image.shape)


def test_a_third_of_a_turn_of_hue_swaps_the_channels() -> None:
    assert colorsys.rgb_to_hsv(0, 1, 0)[0] - colorsys.rgb_to_hsv(1, 0, 0)[0] == pytest.approx(1 / 3)
    turned = _turned(np.eye(3).reshape(3, 3, 1), np.ones(3) / math.sqrt(3), 2 * math.pi / 3)
    assert np.allclose(turned[:, :, 0], np.roll(np.eye(3), 1, axis=0))


def test_gradients_flow_and_the_gradient_of_the_gradient_too() -> None:
    images = pictures(3, 4).requires_grad_(True)
    changes = draw_changes(3, 0.9, 4, dice(2))
    assert torch.autograd.gradcheck(lambda x: apply_changes(x, changes), images)
    assert torch.autograd.gradgradcheck(lambda x: apply_changes(x, changes).pow(3), images)


def test_as_many_images_change_as_asked_for() -> None:
    count, p = 20_000, 0.3
    changes = draw_changes(count, p, SIDE, dice(4))
    places, colors = changes.places, changes.colors
    three_sigma = 3 * math.sqrt(0.25 / count)

    def share(condition: torch.Tensor) -> float:
        return float(condition.double().mean())

    # Mirroring shows in the sign of the determinant, half the time that it is drawn.
    assert share(torch.linalg.det(places[:, :2, :2]) < 0) == pytest.approx(p / 2, abs=three_sigma)
    # Scaling alike in both directions shows in the determinant; the other scaling does not.
    assert share((torch.linalg.det(places[:, :2, :2]).abs() - 1).abs() > 1e-9) == pytest.approx(p, abs=three_sigma)
    # No turn off the axes and no anisotropic scaling: both rotations, the scalings and the fractional shift stay away.
    kept = (1 - p) ** 4
    assert share((places == places.round()).all(dim=2).all(dim=1)) == pytest.approx(kept, abs=three_sigma)
    untouched = (colors[:, :, :3] - torch.eye(3)).abs().amax(dim=(1, 2)) < 1e-9
    expected = (1 - p) ** 3 * (1 - p / 2)
    assert share(untouched) == pytest.approx(expected, abs=three_sigma)
    grey = torch.ones(3, dtype=torch.float64)
    factors = (colors[:, :, :3] @ grey)[:, 0]
    assert share((factors.abs() - 1).abs() > 1e-9) == pytest.approx(p, abs=three_sigma)
    contrast = factors.abs()[(factors.abs() - 1).abs() > 1e-9].log2()
    assert float(contrast.std()) == pytest.approx(0.5, rel=0.05)


def test_changes_are_the_same_for_the_same_seed() -> None:
    first, again = (draw_changes(5, 0.7, SIDE, dice(9)) for _ in "ab")
    assert torch.equal(first.places, again.places)
    assert torch.equal(first.colors, again.colors)
