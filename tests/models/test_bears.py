import numpy as np
import pytest
import torch

from models.bears import DRESSED, PLAIN
from models.bears.renderer import HALF_FIELD, render, render_scenes
from models.bears.scene import DRESSED_PARTS, KEYPOINT_MIRROR, KEYPOINT_SOLIDS, PARTS, SOLID_PARTS, Scene, draw_scene
from tests.models.mirrored_scenes import mirrored

SIZE = 64


def march(scene: Scene, x: float, y: float) -> tuple[int, float]:
    """Part and depth of what the ray through image point (x, y) meets first, found by walking along it in the world
    frame and asking of every point whether it lies inside a solid: no quadratic is solved."""
    u, v = (2 * x / SIZE - 1) * HALF_FIELD, (1 - 2 * y / SIZE) * HALF_FIELD
    direction = u * scene.camera[0] + v * scene.camera[1] - scene.camera[2]
    t = np.arange(3.0, 9.0, 1e-3)
    points = scene.eye + t[:, None] * direction
    offsets = points[:, None] - scene.centers
    inside = ((offsets[:, :, None] @ scene.shapes)[:, :, 0] * offsets).sum(axis=-1) <= 1
    hit = np.column_stack([inside, points[:, 1] <= 0, points[:, 2] <= scene.wall_z])
    first = int(hit.any(axis=1).argmax())
    return int(np.array([*scene.parts, 1, 0])[hit[first].argmax()]), float(t[first])


@pytest.mark.parametrize("dressed", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2, 7])
def test_parts_and_depth_agree_with_points_sampled_along_each_ray(seed: int, dressed: bool) -> None:
    renders = render([seed], SIZE, dressed=dressed)
    random = np.random.default_rng(seed)
    rows, columns = random.integers(0, SIZE, (2, 60))
    wrong = 0
    for row, column in zip(rows, columns, strict=True):
        part, depth = march(draw_scene(seed, dressed), column + 0.5, row + 0.5)
        if part != renders.parts[0, row, column]:
            wrong += 1
        else:
            assert renders.depth[0, row, column] == pytest.approx(depth, abs=4e-3)
    # A ray that grazes a solid for less than a step of the walk may differ.
    assert wrong <= 1


def test_float32_places_the_same_parts_as_float64() -> None:
    scenes = [draw_scene(seed) for seed in range(8)]
    single, double = render_scenes(scenes, SIZE), render_scenes(scenes, SIZE, dtype=torch.float64)
    assert (single.parts != double.parts).mean() < 1e-3
    assert np.abs(single.depth - double.depth)[single.parts == double.parts].max() < 1e-2


def test_a_bear_depends_on_its_seed_alone() -> None:
    together, alone = render(range(3, 12)), render([7])
    assert np.array_equal(together.images[4], alone.images[0])
    assert np.array_equal(together.parts[4], alone.parts[0])
    assert np.array_equal(together.keypoints[4], alone.keypoints[0])
    assert not np.array_equal(together.images[3], together.images[4])


def test_keypoints_reproject_through_a_pinhole_and_hide_behind_nearer_surfaces() -> None:
    hidden = 0
    seeds = range(20)
    renders = render(seeds, SIZE)
    for seed, keypoints, parts in zip(seeds, renders.keypoints, renders.parts, strict=True):
        scene = draw_scene(seed)
        for point, solid, (x, y, visibility) in zip(scene.keypoints, KEYPOINT_SOLIDS, keypoints, strict=True):
            right, up, backward = scene.camera @ (point - scene.eye)
            assert x == pytest.approx((right / -backward / HALF_FIELD + 1) / 2 * SIZE, abs=1e-3)
            assert y == pytest.approx((1 - up / -backward / HALF_FIELD) / 2 * SIZE, abs=1e-3)
            offset = point - scene.centers[solid]
            assert offset @ scene.shapes[solid] @ offset == pytest.approx(1.0, abs=0.05), "lies on its solid"
            if not (1 <= x < SIZE - 1 and 1 <= y < SIZE - 1):
                continue
            _, first = march(scene, x, y)
            if visibility == 1:
                hidden += first < -backward - 0.03
                assert first < -backward + 2e-3
            elif visibility == 2:
                # At a silhouette the walk may slip past the solid; it never stops clearly before it.
                assert first > -backward - 0.03
                around = parts[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2]
                assert SOLID_PARTS[solid] in around
    assert hidden > 5


@pytest.mark.parametrize("dressed", [False, True])
def test_the_mirrored_scene_is_the_mirrored_image(dressed: bool) -> None:
    scenes = [draw_scene(seed, dressed) for seed in range(6)]
    # Colours average an asymmetric pattern of rays, labels come from the pixel's centre.
    straight = render_scenes(scenes, SIZE, dtype=torch.float64)
    reflected = render_scenes([mirrored(s) for s in scenes], SIZE, dtype=torch.float64)
    assert np.array_equal(reflected.parts, straight.parts[:, :, ::-1])
    assert np.allclose(reflected.depth, straight.depth[:, :, ::-1], atol=1e-5)
    keypoints = straight.keypoints[:, KEYPOINT_MIRROR] * [-1, 1, 1] + [SIZE, 0, 0]
    assert np.allclose(reflected.keypoints, keypoints, atol=1e-4)
    difference = np.abs(reflected.images.astype(int) - straight.images[:, :, ::-1])
    assert np.median(difference) <= 1


def test_every_part_and_species_occurs_and_the_bear_fills_the_frame() -> None:
    renders = render(range(96), SIZE)
    assert len(PARTS) == 10
    assert set(np.unique(renders.parts)) == set(range(10))
    assert np.bincount(renders.species, minlength=3).min() > 15
    for parts in renders.parts:
        rows = np.flatnonzero((parts >= 2).any(axis=1))
        assert rows[-1] - rows[0] >= 0.7 * SIZE


def test_the_border_between_floor_and_wall_is_visible_in_every_image() -> None:
    renders = render(range(64), SIZE)
    for image, parts in zip(renders.images.astype(float), renders.parts, strict=True):
        # The leftmost column holds wall above floor and no bear.
        wall, floor = (image[:, 0][parts[:, 0] == part] for part in (0, 1))
        assert np.abs(wall[-1] - floor[0]).max() > 20


def test_dressed_bears_are_the_same_bears_with_accessories_in_a_minority_of_images() -> None:
    plain, dressed = render(range(400), SIZE), render(range(400), SIZE, dressed=True)
    worn = dressed.parts >= len(PARTS)
    assert len(DRESSED_PARTS) == 14
    assert np.array_equal(plain.species, dressed.species)
    assert (plain.parts == dressed.parts)[~worn].all()
    assert np.allclose(plain.depth[~worn], dressed.depth[~worn], atol=1e-4)
    # An accessory lies in front of what it hides.
    assert (dressed.depth[worn] < plain.depth[worn] + 1e-4).all()
    shown = np.array([(dressed.parts == part).any(axis=(1, 2)) for part in range(len(PARTS), 14)])
    assert (np.abs(shown.mean(axis=1) - 0.2) < 0.06).all()
    scarf, bow_tie = (DRESSED_PARTS.index(name) - len(PARTS) for name in ("scarf", "bow tie"))
    assert not (shown[scarf] & shown[bow_tie]).any()
    bare = ~shown.any(axis=0)
    assert bare.any() and np.array_equal(plain.images[bare], dressed.images[bare])


def test_accessories_can_be_told_from_what_is_around_them() -> None:
    for seed in range(200):
        scene = draw_scene(seed, dressed=True)
        of_bear = np.concatenate(
            [scene.albedos[np.isin(scene.parts, (2, 3, 8))], [scene.floor_albedo, scene.wall_albedo]]
        )
        accent = scene.albedos[scene.parts >= len(PARTS)]
        assert (accent == accent[0]).all()
        assert np.abs(accent[0] - of_bear).sum(axis=1).min() > 0.35


def test_a_domain_draws_its_own_bears() -> None:
    for domain in (PLAIN, DRESSED):
        assert len(domain.parts) == len(domain.colors) == len(set(domain.colors))
        made = domain.render(range(40), 32)
        assert np.array_equal(made.images, render(range(40), 32, dressed=domain.dressed).images)
        assert made.parts.max() == len(domain.parts) - 1
