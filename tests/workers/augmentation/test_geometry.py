"""Labels move by the same map as the image does, and by the one that the step's parameters say."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from models.labels import ImageLabels
from service.augmentation import AugmentStep, ElasticTransform
from service.label_schema import LabelSchema
from tests.workers.augmentation.pictures import (
    SCHEMA,
    SIDE,
    between,
    picture,
    places,
    sources,
    spread_points,
    squares,
    steps,
)
from workers.augmentation import augment, sample_random
from workers.augmentation.maps import Displacement
from workers.augmentation.moves import move

TURN = {"name": "ShiftScaleRotate", "p": 1, "rotate_limit": [30, 30], "scale_limit": [0.25, 0.25]}
CROP = {"name": "RandomSizedCrop", "p": 1, "min_max_height": [0.4, 0.8], "w2h_ratio": 1.3}
ELASTIC = {"name": "ElasticTransform", "p": 1, "alpha": 60, "sigma": 5}
GRID = {"name": "GridDistortion", "p": 1, "num_steps": 4, "distort_limit": 0.5}
FLIP = {"name": "HorizontalFlip", "p": 1}


def shift(share: float, **others: object) -> dict[str, object]:
    """A step that moves everything right and down by a share of the side, and does no more."""
    still = {"rotate_limit": 0, "scale_limit": 0, "shift_limit": [share, share]}
    return {"name": "ShiftScaleRotate", "p": 1, **still, **others}


def turned(points: NDArray[np.float64], degrees: float, scale: float, moved: float) -> NDArray[np.float64]:
    """Points turned counter-clockwise, as seen with y downwards, and scaled about the centre, then moved."""
    centre = SIDE / 2 * (1 + 1j)
    numbers = points[:, 0] + 1j * points[:, 1] - centre
    numbers = numbers * scale * np.exp(-1j * math.radians(degrees)) + centre + moved * SIDE * (1 + 1j)
    return np.column_stack([numbers.real, numbers.imag])


LISTS = {
    "flip": [FLIP],
    "crop": [CROP],
    "turn": [TURN],
    "small": [{"name": "ShiftScaleRotate", "p": 1, "scale_limit": [-0.5, -0.5], "shift_limit": 0.3}],
    "mirrored edges": [{**TURN, "scale_limit": [-0.4, -0.4], "border_mode": "reflect_101"}],
    "elastic": [ELASTIC],
    "strong elastic": [{**ELASTIC, "alpha": 2000, "sigma": 12}],
    "grid": [GRID],
    "all": [FLIP, TURN, ELASTIC, GRID, CROP],
    "all reversed": [CROP, GRID, ELASTIC, TURN, FLIP],
    "in and out": [{**TURN, "border_mode": "replicate"}, ELASTIC, {**TURN, "rotate_limit": [-80, -80]}],
}


@pytest.mark.parametrize("chosen", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_image_mask_and_points_follow_one_map(chosen: list[dict[str, object]], seed: int) -> None:
    wanted = steps(*chosen)
    x, y = sources(wanted, seed)
    points = spread_points(np.random.default_rng(seed), 40)
    labels = ImageLabels(mask=squares(), keypoints=points)
    # Names without mirrors: here, only places are looked at.
    schema = LabelSchema.model_validate(
        {
            "classes": [{"name": f"{index}", "color": "#000000"} for index in range(4)],
            "keypoints": {"points": [{"name": f"{index}"} for index in range(40)]},
        }
    )
    image, moved = augment(picture(), labels, wanted, schema, sample_random(seed, 0, 0))
    assert moved.mask is not None and moved.keypoints is not None

    known = np.isfinite(x)
    assert (np.isfinite(y) == known).all() and known.mean() > 0.2
    assert np.abs(image[known][:, 0] / 4 - x[known]).max() < 0.126 + 1e-3
    assert np.abs(image[known][:, 1] / 4 - y[known]).max() < 0.126 + 1e-3
    assert (image[~known] == 0).all()

    # Depth stops half a pixel from the edges, and at a border between squares either of them will do.
    sure = known & (np.abs((x + 4) % 8 - 4) > 0.01) & (np.abs((y + 4) % 8 - 4) > 0.01)
    expected = squares()[y[sure].astype(int), x[sure].astype(int)]
    assert (moved.mask[sure] == expected).all() and sure.sum() > 0.9 * known.sum()
    assert (moved.mask[~known] == 255).all()

    inside = moved.keypoints[:, 2] == 2
    back = [between(values, moved.keypoints[inside, :2].astype(np.float64)) for values in (x, y)]
    sharp = np.isfinite(back[0])
    assert sharp.sum() >= 5
    error = np.hypot(back[0] - points[inside, 0], back[1] - points[inside, 1])[sharp]
    # Where a grid's lines cross the map has a bend, between whose pixels no bilinear sample can follow it.
    assert np.quantile(error, 0.5) < 0.02 and error.max() < (0.15 if GRID in chosen else 0.05)
    assert (moved.keypoints[~inside] == 0).all()


def test_a_turn_is_the_one_asked_for() -> None:
    wanted = steps({**TURN, "shift_limit": [0.1, 0.1]})
    points = spread_points(np.random.default_rng(3), 3)
    _, moved = augment(picture(), ImageLabels(keypoints=points), wanted, SCHEMA, sample_random(0, 0, 0))
    assert moved.keypoints is not None
    expected = turned(points[:, :2].astype(np.float64), 30, 1.25, 0.1)
    inside = ((expected >= 0) & (expected <= SIDE)).all(1)
    assert inside.any()
    np.testing.assert_allclose(moved.keypoints[inside, :2], expected[inside], atol=1e-4)
    x, y = sources(wanted, 0)
    grid = np.column_stack([values.ravel() for values in places()])
    known = np.isfinite(x).ravel() & (np.abs(np.column_stack([x.ravel(), y.ravel()]) - 32) < 31).all(1)
    there = turned(np.column_stack([x.ravel(), y.ravel()])[known], 30, 1.25, 0.1)
    np.testing.assert_allclose(there, grid[known], atol=1e-3)


def test_pixels_are_bilinear_to_a_rounding() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    image, _ = augment(noise, ImageLabels(), steps(TURN), SCHEMA, sample_random(4, 0, 0))
    x, y = sources(steps(TURN), 4)
    sure = np.isfinite(x) & (np.abs(x - 32) < 31) & (np.abs(y - 32) < 31)
    for channel in range(3):
        exact = between(noise[..., channel].astype(np.float64), np.column_stack([x[sure], y[sure]]))
        assert np.abs(image[sure][:, channel] - exact).max() < 0.51


def test_a_crop_lies_inside_and_has_the_height_asked_for() -> None:
    lefts = []
    for seed in range(20):
        x, y = sources(steps({**CROP, "min_max_height": [0.5, 0.5], "w2h_ratio": 1.5}), seed)
        # A pixel from the edges, where depth is the plain place.
        np.testing.assert_allclose(np.diff(x[0, 1:-1]), 0.75, atol=1e-3)
        np.testing.assert_allclose(np.diff(y[1:-1, 0]), 0.5, atol=1e-3)
        lefts.append(x[0, 1] - 1.5 * 0.75)
        assert -1e-3 <= lefts[-1] <= SIDE / 4 + 1e-3
    assert min(lefts) < 4 and max(lefts) > 12


def test_a_grid_keeps_columns_straight_and_edges_in_place() -> None:
    x, y = sources(steps({**GRID, "num_steps": 4}), 0)
    assert (np.abs(x - x[:1]) < 1e-4).all() and (np.abs(y - y[:, :1]) < 1e-4).all()
    # 64 / 4 = 16 columns a cell; slopes are measured a pixel inside.
    slopes = np.array([(x[0, 16 * cell + 14] - x[0, 16 * cell + 1]) / 13 for cell in range(4)])
    assert slopes.sum() == pytest.approx(4, abs=1e-3)
    assert slopes.max() / slopes.min() <= 3 and slopes.std() > 0.05
    knots = np.concatenate([[0], np.cumsum(slopes) * 16])
    expected = np.interp(np.arange(1.5, 63), np.linspace(0, 64, 5), knots)
    np.testing.assert_allclose(x[0, 1:-1], expected, atol=0.01)
    points = np.array([[knots[1], 20, 2], [knots[3], 20, 2], [0.5 * (knots[1] + knots[2]), 20, 2]], np.float32)
    _, moved = augment(picture(), ImageLabels(keypoints=points), steps(GRID), SCHEMA, sample_random(0, 0, 0))
    assert moved.keypoints is not None
    np.testing.assert_allclose(moved.keypoints[:, 0], [16, 48, 24], atol=0.02)


@pytest.mark.parametrize("sigma", [2.0, 4.0, 8.0])
def test_elastic_moves_are_as_strong_as_smoothed_noise_is(sigma: float) -> None:
    alpha = sigma
    middle = slice(16, 48), slice(16, 48)
    moves = []
    for seed in range(40):
        x, y = sources(steps({**ELASTIC, "alpha": alpha, "sigma": sigma, "border_mode": "reflect_101"}), seed)
        moves += [(x - places()[0])[middle], (y - places()[1])[middle]]
    # White noise through a Gaussian of sigma: variance 1 / (4 pi sigma²).
    assert np.std(moves) == pytest.approx(alpha / (2 * sigma * math.sqrt(math.pi)), rel=0.2)


@pytest.mark.parametrize(("alpha", "sigma"), [(60, 5), (2000, 12), (10_000, 4)])
def test_points_are_found_again_under_an_elastic_map(alpha: float, sigma: float) -> None:
    """In float64, by the field itself: where a point went, the map looks at the place that it came from."""
    for seed in range(5):
        (step,) = steps({**ELASTIC, "alpha": alpha, "sigma": sigma})
        assert isinstance(step, ElasticTransform)
        elastic = move(step, SIDE, SIDE, np.random.default_rng(seed)).map
        assert isinstance(elastic, Displacement)
        points = np.random.default_rng(seed).uniform(0, SIDE, (40, 2))
        found = elastic.push(points)
        inner = ((found >= 0.5) & (found <= SIDE - 0.5)).all(1)
        moves = [between(plane.astype(np.float64), found[inner]) for plane in elastic.field]
        assert inner.sum() > 20 and np.abs(found[inner] + np.column_stack(moves) - points[inner]).max() < 0.003


def test_elastic_never_folds() -> None:
    for seed in range(5):
        x, y = sources(steps({**ELASTIC, "alpha": 10_000, "sigma": 4, "border_mode": "replicate"}), seed)
        # Along rows x rises, but where the image's edge is shown again and again.
        inner = (np.abs(x - 32) < 31) & (np.abs(y - 32) < 31)
        rises = np.diff(x, axis=1)[inner[:, 1:] & inner[:, :-1]]
        assert rises.min() > 0.2 and rises.max() > 1.3


def test_a_flip_is_exact() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    depth = random.uniform(0, 9, (SIDE, SIDE)).astype(np.float32)
    image, moved = augment(noise, ImageLabels(depth=depth), steps(FLIP), SCHEMA, sample_random(0, 0, 0))
    assert (image == noise[:, ::-1]).all()
    assert moved.depth is not None and (moved.depth == depth[:, ::-1]).all()
    image, moved = augment(noise, ImageLabels(depth=depth), steps(FLIP, FLIP), SCHEMA, sample_random(0, 0, 0))
    assert (image == noise).all()


@pytest.mark.parametrize(("mode", "padding"), [("reflect_101", "reflect"), ("replicate", "edge")])
def test_outside_shows_the_image_as_the_border_mode_says(mode: str, padding: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    wanted = steps(shift(0.25, border_mode=mode))
    image, moved = augment(noise, ImageLabels(mask=squares()), wanted, SCHEMA, sample_random(0, 0, 0))
    assert (image == np.pad(noise, ((16, 0), (16, 0), (0, 0)), padding)[:SIDE, :SIDE]).all()  # type: ignore[call-overload]
    assert (moved.mask == np.pad(squares(), ((16, 0), (16, 0)), padding)[:SIDE, :SIDE]).all()  # type: ignore[call-overload]


def test_what_left_the_image_does_not_come_back() -> None:
    away, back = shift(0.25, fill=[9, 8, 7], fill_mask=3), shift(-0.25, fill=50)
    points = np.array([[60, 60, 2], [20, 20, 1], [20, 60, 2]], np.float32)
    labels = ImageLabels(squares(), points, np.ones((SIDE, SIDE), np.float32))
    image, moved = augment(picture(), labels, steps(away, back), SCHEMA, sample_random(0, 0, 0))
    assert moved.mask is not None and moved.depth is not None and moved.keypoints is not None
    assert (image[:48, :48] == picture()[:48, :48]).all() and (moved.mask[:48, :48] == squares()[:48, :48]).all()
    assert (image[48:] == 50).all() and (image[:, 48:] == 50).all()
    assert (moved.mask[48:] == 255).all() and np.isnan(moved.depth[48:]).all() and (moved.depth[:48, :48] == 1).all()
    np.testing.assert_allclose(moved.keypoints, [[0, 0, 0], [20, 20, 1], [0, 0, 0]], atol=1e-5)
    image, moved = augment(picture(), labels, steps(back, away), SCHEMA, sample_random(0, 0, 0))
    assert moved.mask is not None
    assert (image[:16] == (9, 8, 7)).all() and (moved.mask[:16] == 3).all()


def test_the_last_step_paints_over_what_those_before_it_left_outside() -> None:
    first, last = shift(0.25, fill=50, fill_mask=2), shift(0.25, fill=9, fill_mask=3)
    image, moved = augment(picture(), ImageLabels(squares()), steps(first, last), SCHEMA, sample_random(0, 0, 0))
    assert moved.mask is not None
    assert (image[32:, 32:] == picture()[:32, :32]).all()
    assert (image[:16] == 9).all() and (image[16:32, 16:] == 50).all()
    assert (moved.mask[:16] == 3).all() and (moved.mask[16:32, 16:] == 2).all()


def test_moves_on_each_other_blur_no_more_than_one() -> None:
    """Two turns that cancel leave what is inside untouched; sampled twice, noise would lose its contrast."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    turn: dict[str, object] = {**shift(0), "rotate_limit": [30, 30]}
    never: dict[str, object] = {"name": "GaussNoise", "p": 0}
    image, _ = augment(
        noise, ImageLabels(), steps(turn, never, {**turn, "rotate_limit": [-30, -30]}), SCHEMA, sample_random(0, 0, 0)
    )
    x, y = places()
    inner = np.hypot(x - 32, y - 32) < 31
    assert np.abs(image[inner].astype(int) - noise[inner]).max() <= 1


def test_other_sides_than_equal_ones() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    labels = ImageLabels(depth=np.broadcast_to(np.arange(0.5, 40, dtype=np.float32), (24, 40)).copy())
    chosen: list[AugmentStep] = steps(FLIP, GRID, ELASTIC, TURN, CROP)
    moved, after = augment(image, labels, chosen, SCHEMA, sample_random(0, 0, 0))
    assert moved.shape == image.shape and after.depth is not None and after.depth.shape == (24, 40)
    _, flipped = augment(image, labels, steps(FLIP), SCHEMA, sample_random(0, 0, 0))
    assert flipped.depth is not None and (flipped.depth[0] == np.arange(39.5, 0, -1)).all()
