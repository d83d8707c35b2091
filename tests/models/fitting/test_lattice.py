"""What is learnt from some pixels of large images is what all pixels would say there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.bundle import GeneratorBundle
from models.fitting import StackedLabels
from models.fitting.fit import learn
from models.fitting.lattice import Lattice
from models.fitting.seed_features import SeedFeatures
from models.fitting.training import pixel_loss
from models.heads.keypoints import gaussian_targets, heatmap_sigma
from models.label_quality import class_iou, depth_errors, mean_known
from models.labeler import Labeler, LabelerArchitecture
from tests.models.fitting.subjects import LAYOUT, QUICK, subjects

CPU = torch.device("cpu")


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features in float32."""
    monkeypatch.setattr("models.fitting.seed_features.training_precision", lambda _: torch.float32)


def new_labeler(bundle: GeneratorBundle) -> Labeler:
    architecture = bundle.generator.architecture
    torch.manual_seed(2)
    return Labeler(
        LabelerArchitecture(architecture.feature_channels, architecture.feature_sides, 16, LAYOUT, 3, (16,), 24)
    )


@pytest.mark.parametrize(("resolution", "side"), [(512, 128), (16, 16), (16, 5)])
def test_every_band_of_an_image_has_one_row_and_one_column(resolution: int, side: int) -> None:
    lattice = Lattice.draw(40, resolution, side, 3, CPU)
    borders = torch.tensor([band * resolution // side for band in range(side + 1)])
    for places in (lattice.rows, lattice.columns):
        assert places.shape == (40, side)
        assert bool((places >= borders[:-1]).all() and (places < borders[1:]).all())
    if side < resolution:
        assert not torch.equal(lattice.rows, lattice.columns)
        assert not torch.equal(lattice.rows[0], lattice.rows[1])
        drawn = torch.stack([lattice.rows, lattice.columns])
        assert len(drawn[:, :, 1].unique()) == int(borders[2] - borders[1]), "every place of a band is drawn by some"


@pytest.mark.parametrize("side", [4, 8, 16, 32])
def test_a_sample_is_what_upsampling_gives_at_its_pixels(side: int) -> None:
    lattice = Lattice.draw(3, 32, 11, 0, CPU)
    x = torch.randn(3, 5, side, side, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    whole = F.interpolate(x, size=(32, 32), mode="bilinear", align_corners=False)
    sampled = lattice.sample(x)
    for image in range(3):
        rows, columns = lattice.rows[image].tolist(), lattice.columns[image].tolist()
        expected = torch.stack([whole[image, :, row, columns] for row in rows], dim=1)
        assert torch.allclose(sampled[image], expected, atol=1e-12)
        assert torch.equal(lattice.pick(whole[:, 2])[image], expected[2])
    assert torch.equal(lattice.of(torch.tensor([2])).sample(x[2:]), sampled[2:])


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("side", [3, 4, 7, 8, 12])
def test_members_say_at_a_pixel_what_they_say_of_the_whole_image(tiny_bundle: GeneratorBundle, side: int) -> None:
    codes = subjects(tiny_bundle, 5).codes
    lattice = Lattice.draw(5, 16, side, 1, CPU)
    features, labeler = SeedFeatures(tiny_bundle, codes, lattice), new_labeler(tiny_bundle)
    rows = torch.tensor([3, 0])
    whole = labeler.of_pixels(features.of(rows))
    some = labeler.of_pixels(features.to_learn_from(rows), lattice.of(rows).spread)
    assert some.classes.shape == (2, 3, 3, side, side)
    here = lattice.of(rows)
    for member in range(3):
        assert torch.allclose(some.depth[:, member], here.pick(whole.depth[:, member]), atol=1e-4)
        for place in range(3):
            expected = here.pick(whole.classes[:, member, place])
            assert torch.allclose(some.classes[:, member, place], expected, atol=1e-4)


def test_features_at_pixels_are_the_same_kept_or_made_again(
    tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, lattice = subjects(tiny_bundle, 6).codes, Lattice.draw(6, 16, 7, 1, CPU)
    kept = SeedFeatures(tiny_bundle, codes, lattice)
    monkeypatch.setattr("models.fitting.seed_features.FEATURE_CACHE_BYTES", 0)
    made = SeedFeatures(tiny_bundle, codes, lattice)
    assert (kept.kept is None, made.kept is None) == (False, True)
    rows = torch.tensor([5, 1, 2])
    assert [level.shape[-1] for level in kept.to_learn_from(rows)] == [4, 7, 7, 7, 7]
    for a, b in zip(kept.to_learn_from(rows), made.to_learn_from(rows), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=0.05)


@pytest.mark.usefixtures("exact")
def test_features_that_are_too_many_are_kept_in_half_the_room(
    tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, lattice = subjects(tiny_bundle, 6).codes, Lattice.draw(6, 16, 7, 1, CPU)
    whole = SeedFeatures(tiny_bundle, codes, lattice)
    assert whole.kept is not None
    room = sum(level.nbytes for level in whole.kept)
    monkeypatch.setattr("models.fitting.seed_features.FEATURE_CACHE_BYTES", room - 1)
    half = SeedFeatures(tiny_bundle, codes, lattice)
    assert half.kept is not None
    assert sum(level.nbytes for level in half.kept) == room // 2
    rows = torch.tensor([4, 0])
    for a, b in zip(whole.to_learn_from(rows), half.to_learn_from(rows), strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert torch.equal(a.bfloat16(), b.bfloat16())


def test_targets_are_the_gaussian_at_what_is_seen() -> None:
    lattice = Lattice.draw(2, 64, 9, 4, CPU)
    points = torch.tensor([[[10.3, 50.2, 2.0], [63.0, 0.4, 1.0]], [[31.0, 32.5, 2.0], [5.5, 5.5, 2.0]]])
    targets = gaussian_targets(points, 64, (lattice.rows, lattice.columns))
    for image in range(2):
        y, x = np.meshgrid(lattice.rows[image].numpy() + 0.5, lattice.columns[image].numpy() + 0.5, indexing="ij")
        for point in range(2):
            at_x, at_y = points[image, point, :2].double().tolist()
            weight = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * heatmap_sigma(64) ** 2))
            assert np.allclose(targets[image, point].numpy(), weight / weight.sum(), atol=1e-6)


@pytest.mark.usefixtures("exact")
def test_a_lattice_of_all_pixels_changes_nothing_in_the_loss(tiny_bundle: GeneratorBundle) -> None:
    seeds = subjects(tiny_bundle, 3)
    labeler, labels = new_labeler(tiny_bundle), seeds.labels.tensors(CPU)
    lattice = Lattice.draw(3, 16, 16, 0, CPU)
    features, rows = SeedFeatures(tiny_bundle, seeds.codes, lattice), torch.arange(3)

    def loss(seen: Lattice | None) -> torch.Tensor:
        given = features.to_learn_from(rows) if seen else features.of(rows)
        outputs = labeler.of_pixels(given, seen.spread if seen else None)
        return pixel_loss(labeler, outputs, labels, QUICK, torch.Generator().manual_seed(0), seen)

    assert float(loss(lattice).detach()) == pytest.approx(float(loss(None).detach()), rel=1e-4)


def test_a_quarter_of_the_pixels_teaches_every_kind(tiny_bundle: GeneratorBundle) -> None:
    seeds, new = subjects(tiny_bundle, 40), subjects(tiny_bundle, 60, seed=1000)
    settings = replace(QUICK, lattice_side=8, fold_steps=120, steps=200, pilots=((1.0, 8),))
    learnt = learn(tiny_bundle, seeds.codes, seeds.labels, [True] * 40, LAYOUT, settings, lambda *_: None)
    whole = SeedFeatures(tiny_bundle, new.codes).of(torch.arange(60))
    said, truth = StackedLabels.of_batches([learnt.labeler.label(whole)]), new.labels
    assert mean_known(class_iou(said.masks, truth.masks, 3)) > 0.7
    assert depth_errors(said.depth, truth.depth)[0] < depth_errors(np.full_like(truth.depth, 5.0), truth.depth)[0] / 3
    usual = np.broadcast_to(seeds.labels.keypoints.mean(axis=0), truth.keypoints.shape)
    wrong, chance = (
        np.linalg.norm((points - truth.keypoints)[..., :2], axis=-1).mean() for points in (said.keypoints, usual)
    )
    assert wrong < 0.8 * chance
    assert learnt.held_out is not None
    assert learnt.held_out.labels.masks.shape == seeds.labels.masks.shape
    held_out = class_iou(learnt.held_out.labels.masks, seeds.labels.masks[learnt.held_out.rows], 3)
    assert mean_known(held_out) > 0.6
