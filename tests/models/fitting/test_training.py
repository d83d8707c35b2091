"""The ensemble learns each label kind from a few seeds, alone and together with the others."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.bundle import GeneratorBundle
from models.fitting import FitSettings, LabelNames, StackedLabels, cross_validation
from models.fitting.cross_validation import HeldOut, cross_validate, fold_count
from models.fitting.fit import Learnt, learn
from models.fitting.lattice import Lattice
from models.fitting.pilots import draw_pilots
from models.fitting.report import examples, held_out_figures
from models.fitting.seed_features import PooledFeatures, SeedFeatures
from models.fitting.training import pixel_loss, train_labeler
from models.label_quality import accuracy, class_iou, depth_errors, mean_known
from models.labeler import HeadOutputs, Labeler
from models.labeling import BUDGET_BYTES
from models.labels import LabelLayout
from tests.models.fitting.subjects import LAYOUT, NAMES, QUICK, subjects

SETTINGS = replace(QUICK, steps=200)


class Largest(TorchDispatchMode):
    """values: how many numbers the largest tensor had that was made meanwhile."""

    values = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.values = max([self.values, *(t.numel() for t in tree_leaves(result) if isinstance(t, torch.Tensor))])
        return result


def learnt(bundle: GeneratorBundle, layout: LabelLayout, count: int = 40, settings: FitSettings = SETTINGS) -> Labeler:
    """A labeler that learnt from samples and their exact codes."""
    seeds = subjects(bundle, count)
    stacked = StackedLabels.of(seeds.labels.each(), layout)
    features = SeedFeatures(bundle, seeds.codes)
    pooled = PooledFeatures.of(features, 64, 0)
    rows = torch.arange(count)
    return train_labeler(features, stacked.tensors(bundle.device), rows, layout, pooled, settings, lambda _: None)


def said(bundle: GeneratorBundle, labeler: Labeler, codes: torch.Tensor) -> StackedLabels:
    return StackedLabels.of_batches([labeler.label(SeedFeatures(bundle, codes).of(torch.arange(len(codes))))])


@pytest.mark.parametrize(
    "layout",
    [
        LAYOUT,
        LabelLayout(classes=3),
        LabelLayout(points=2),
        LabelLayout(depth=(0.0, 10.0)),
        LabelLayout(attributes=(2,)),
    ],
)
def test_new_samples_are_labeled_far_better_than_by_chance(tiny_bundle: GeneratorBundle, layout: LabelLayout) -> None:
    new = subjects(tiny_bundle, 60, seed=1000)
    seeds = subjects(tiny_bundle, 40).labels
    labels, truth = said(tiny_bundle, learnt(tiny_bundle, layout), new.codes), new.labels
    if layout.classes:
        guess = np.full_like(truth.masks, np.bincount(seeds.masks.ravel()).argmax())
        score, chance = (mean_known(class_iou(masks, truth.masks, 3)) for masks in (labels.masks, guess))
        assert score > 0.7 > chance + 0.5
    if layout.points:
        usual = np.broadcast_to(seeds.keypoints.mean(axis=0), truth.keypoints.shape)
        wrong, chance = (
            np.linalg.norm((points - truth.keypoints)[..., :2], axis=-1).mean() for points in (labels.keypoints, usual)
        )
        assert wrong < 0.7 * chance
        assert (labels.keypoints[..., 2] == 2).all()
    if layout.depth:
        wrong, chance = (depth_errors(d, truth.depth)[0] for d in (labels.depth, np.full_like(truth.depth, 5.0)))
        assert wrong < chance / 3
    if layout.attributes:
        assert 0.4 < truth.attributes.mean() < 0.6
        assert accuracy(labels.attributes, truth.attributes) > 0.75


def test_depth_is_learnt_whatever_its_unit_is(tiny_bundle: GeneratorBundle) -> None:
    """In metres, heights under a microscope differ by billionths."""
    seeds, new = subjects(tiny_bundle, 40), subjects(tiny_bundle, 60, seed=1000)
    rows, features = torch.arange(40), SeedFeatures(tiny_bundle, seeds.codes)
    errors, spreads = [], []
    for unit in (1.0, 1e-9, 1e15):
        layout = LabelLayout(classes=3, depth=(0.0, 10.0 * unit))
        stacked = StackedLabels(seeds.labels.masks, None, seeds.labels.depth * np.float32(unit), None)
        tensors = stacked.tensors(tiny_bundle.device)
        labeler = train_labeler(features, tensors, rows, layout, None, SETTINGS, lambda _: None)
        labels = said(tiny_bundle, labeler, new.codes)
        errors.append(depth_errors(labels.depth / unit, new.labels.depth)[0])
        draw_pilots(tiny_bundle, labeler, replace(QUICK, pilots=((1.0, 64),)), lambda _: None)
        spreads.append(float(labeler.kind_spread[1]) / unit)
    assert errors == pytest.approx([errors[0]] * 3, rel=0.01)
    assert spreads == pytest.approx([spreads[0]] * 3, rel=0.05)


def test_what_is_not_known_teaches_nothing(tiny_bundle: GeneratorBundle) -> None:
    """Unknown labels in any kind give the loss of the known ones alone, and no gradient where nothing is known."""
    labeler = Labeler(learnt(tiny_bundle, LAYOUT, 2).architecture)
    labeler.depth_center.fill_(5.0), labeler.depth_scale.fill_(2.0)
    seeds = subjects(tiny_bundle, 2).labels
    masks, points, depth = seeds.masks.copy(), seeds.keypoints.copy(), seeds.depth.copy()
    masks[:, 8:], depth[:, :, 8:], points[0, 0, 2], points[1, 1, 2] = 255, np.nan, 0, 0
    tensors = StackedLabels(masks, points, depth, seeds.attributes).tensors(torch.device("cpu"))
    torch.manual_seed(1)
    classes = torch.randn(2, 3, 3, 16, 16, requires_grad=True)
    heatmaps = torch.randn(2, 3, 2, 16, 16, requires_grad=True)
    depths = torch.randn(2, 3, 16, 16, requires_grad=True)
    outputs = HeadOutputs(classes, heatmaps, depths, None, ())
    everything = replace(SETTINGS, pixel_share=1.0, keypoint_weight=0.5, depth_weight=2.0)
    loss = pixel_loss(labeler, outputs, tensors, everything, torch.Generator().manual_seed(0))
    loss.backward()
    assert (classes.grad[..., 8:, :] == 0).all()
    assert (classes.grad[..., :8, :] != 0).all()
    assert (depths.grad[..., 8:] == 0).all()
    assert (depths.grad[..., :8] != 0).all()
    assert (heatmaps.grad[0, :, 0] == 0).all()
    assert (heatmaps.grad[1, :, 0] != 0).all()

    # The same by hand in float64, member by member.
    top = torch.from_numpy(masks[:, :8]).long()
    by_class = [F.cross_entropy(classes[:, m, :, :8].double(), top) for m in range(3)]
    left = torch.from_numpy(depth[:, :, :8]).double()
    assert left.min() < 1.25, "some of it is so near that its weight is bounded"
    weight = 5 / left.clamp(min=1.25, max=20)
    by_depth = [((depths[:, m, :, :8].double() - (left - 5) / 2).abs() * weight).mean() for m in range(3)]
    y, x = torch.meshgrid(torch.arange(16) + 0.5, torch.arange(16) + 0.5, indexing="ij")
    by_point = []
    for image, point in ((0, 1), (1, 0)):
        gap = (x - float(points[image, point, 0])) ** 2 + (y - float(points[image, point, 1])) ** 2
        target = (-gap.double() / 2).exp()
        target = (target / target.sum()).flatten()
        by_point += [-(target * heatmaps[image, m, point].double().flatten().log_softmax(0)).sum() for m in range(3)]
    expected = sum(by_class) / 3 + 0.5 * sum(by_point) / 6 + 2 * sum(by_depth) / 3
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_seeds_that_are_all_ignored_do_no_harm(tiny_bundle: GeneratorBundle) -> None:
    seeds = subjects(tiny_bundle, 2)
    layout = LabelLayout(classes=3, points=2, depth=(0.0, 1.0), attributes=(2,))
    nothing = StackedLabels(
        np.full_like(seeds.labels.masks, 255),
        np.zeros_like(seeds.labels.keypoints),
        np.full_like(seeds.labels.depth, np.nan),
        np.full_like(seeds.labels.attributes, -1),
    )
    features = SeedFeatures(tiny_bundle, seeds.codes)
    labeler = train_labeler(
        features,
        nothing.tensors(tiny_bundle.device),
        torch.arange(2),
        layout,
        PooledFeatures.of(features, 8, 0),
        replace(SETTINGS, steps=3, image_steps=3),
        lambda _: None,
    )
    assert all(bool(tensor.isfinite().all()) for name, tensor in labeler.state_dict().items() if name != "thresholds")


def test_features_are_the_same_kept_or_made_again(
    tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = subjects(tiny_bundle, 6).codes
    kept = SeedFeatures(tiny_bundle, codes)
    monkeypatch.setattr("models.fitting.seed_features.FEATURE_CACHE_BYTES", 0)
    made = SeedFeatures(tiny_bundle, codes)
    assert kept.kept is not None
    assert made.kept is None
    rows = torch.tensor([4, 1])
    for a, b in zip(kept.of(rows), made.of(rows), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=0.05)
    whole = PooledFeatures.of(made, 8, 0)
    assert torch.allclose(whole.seeds[:, -4:], kept.of(torch.arange(6))[-1].float().mean(dim=(2, 3))[:, -4:], atol=0.05)


class TestCrossValidation:
    """Every seed is labeled once, by a labeler that has not seen it."""

    @staticmethod
    def run(bundle: GeneratorBundle, count: int) -> Learnt:
        seeds = subjects(bundle, count)
        settings = replace(QUICK, fold_steps=80, steps=20, pilots=((1.0, 8),))
        included = [index != 1 for index in range(count)]
        return learn(bundle, seeds.codes, seeds.labels, included, LAYOUT, settings, lambda *_: None)

    def test_each_seed_in_the_fit_is_held_out_once(self, tiny_bundle: GeneratorBundle) -> None:
        held_out = self.run(tiny_bundle, 13).held_out
        assert held_out is not None
        assert held_out.folds == 3
        assert sorted(held_out.rows.tolist()) == [0, *range(2, 13)]

    def test_figures_foretell_those_of_new_samples(self, tiny_bundle: GeneratorBundle) -> None:
        seeds = subjects(tiny_bundle, 25)
        held_out = self.run(tiny_bundle, 25).held_out
        assert held_out is not None
        figures = held_out_figures(held_out, seeds.labels.rows(held_out.rows.tolist()), NAMES, tiny_bundle.resolution)
        new = subjects(tiny_bundle, 60, seed=1000)
        alike = learnt(tiny_bundle, LAYOUT, 16, replace(QUICK, steps=80))
        real = mean_known(class_iou(said(tiny_bundle, alike, new.codes).masks, new.labels.masks, 3))
        assert abs(figures["segmentation"]["mean_iou"] - real) < 0.1
        assert figures["depth"]["rmse"] < 1.0
        curve = figures["risk_coverage"]["segmentation"]
        assert curve["oracle"] <= curve["area"] < curve["none"]
        assert [row["discarded"] for row in curve["curve"]] == [0.0, 0.0833, 0.2083, 0.2917, 0.5], "of 24"
        for name in ("error", "oracle"):
            assert curve["curve"][0][name] == pytest.approx(curve["none"], abs=2e-4)
        assert all(row["oracle"] <= row["error"] + 2e-4 for row in curve["curve"])

    def test_a_seed_is_not_labeled_by_its_own_label(self, tiny_bundle: GeneratorBundle) -> None:
        """A class that one seed alone has cannot be found in it when it is held out."""
        seeds = subjects(tiny_bundle, 6)
        masks = seeds.labels.masks.copy()
        masks[2] = 3
        layout = LabelLayout(classes=4)
        features = SeedFeatures(tiny_bundle, seeds.codes)
        held_out = cross_validate(
            features,
            StackedLabels(masks, None, None, None).tensors(tiny_bundle.device),
            torch.arange(6),
            layout,
            PooledFeatures.of(features, 8, 0),
            replace(QUICK, folds=3, fold_steps=40),
            lambda _: None,
        )
        assert held_out is not None
        place = held_out.rows.tolist().index(2)
        assert (held_out.labels.masks[place] != 3).all()

    def test_the_number_of_threads_changes_nothing(self, tiny_bundle: GeneratorBundle) -> None:
        seeds, threads = subjects(tiny_bundle, 6), torch.get_num_threads()
        features = SeedFeatures(tiny_bundle, seeds.codes)
        images, labels = PooledFeatures.of(features, 8, 0), seeds.labels.tensors(tiny_bundle.device)
        settings, found = replace(QUICK, fold_steps=10, image_steps=10), list[HeldOut]()
        try:
            for count in (1, 3):
                torch.set_num_threads(count)
                told: list[int] = []
                held_out = cross_validate(features, labels, torch.arange(6), LAYOUT, images, settings, told.append)
                assert held_out is not None
                found.append(held_out)
                assert told == sorted(told) and told[-1] == 30
        finally:
            torch.set_num_threads(threads)
        one, three = found
        assert np.array_equal(one.rows, three.rows)
        for name in ("class_confidence", "attribute_confidence"):
            assert np.array_equal(getattr(one, name), getattr(three, name))
        for kind in ("masks", "keypoints", "depth", "attributes"):
            assert np.array_equal(getattr(one.labels, kind), getattr(three.labels, kind), equal_nan=True)

    @pytest.mark.parametrize(("side", "lattice", "beside"), [(64, False, True), (64, True, False), (8, False, False)])
    def test_folds_run_beside_each_other_where_images_are_small(
        self, side: int, lattice: bool, beside: bool, tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cross_validation, "SIDE_BY_SIDE", side)
        threads = set[int]()

        def watched(*given: Any) -> Labeler:
            threads.add(threading.get_ident())
            return train_labeler(*given)

        monkeypatch.setattr(cross_validation, "train_labeler", watched)
        seeds = subjects(tiny_bundle, 6)
        pixels = Lattice.draw(6, 16, 4, 0, tiny_bundle.device) if lattice else None
        features, labels = SeedFeatures(tiny_bundle, seeds.codes, pixels), replace(seeds.labels, keypoints=None)
        cross_validate(
            features,
            replace(labels, attributes=None).tensors(tiny_bundle.device),
            torch.arange(6),
            replace(LAYOUT, points=0, attributes=()),
            None,
            replace(QUICK, fold_steps=2),
            lambda _: None,
        )
        assert (threading.get_ident() not in threads) == beside

    def test_seeds_are_labeled_within_the_budget_however_many_classes_there_are(
        self, tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What every member says of every class of every pixel of an image is more than there may be memory for."""
        monkeypatch.setitem(BUDGET_BYTES, "cpu", 2**18)
        seeds, classes = subjects(tiny_bundle, 6), 80
        features = SeedFeatures(tiny_bundle, seeds.codes, Lattice.draw(6, 16, 4, 0, tiny_bundle.device))
        with Largest() as largest:
            held_out = cross_validate(
                features,
                StackedLabels(seeds.labels.masks, None, None, None).tensors(tiny_bundle.device),
                torch.arange(6),
                LabelLayout(classes=classes),
                None,
                replace(QUICK, fold_steps=2, batch=2),
                lambda _: None,
            )
        assert held_out is not None
        assert held_out.class_confidence is not None
        assert held_out.class_confidence.shape == (6, 16, 16)
        assert 0 < largest.values < QUICK.members * classes * 16 * 16

    def test_too_few_seeds_are_not_cut_up(self) -> None:
        assert fold_count(4, QUICK) == 0
        assert fold_count(5, QUICK) == 3
        assert fold_count(5, replace(QUICK, folds=9)) == 5
        assert fold_count(50, replace(QUICK, folds=0)) == 0


def test_pilots_standardise_the_kinds_and_set_the_thresholds(tiny_bundle: GeneratorBundle) -> None:
    labeler = learnt(tiny_bundle, LAYOUT, 4)
    draw_pilots(tiny_bundle, labeler, replace(QUICK, pilots=((0.2, 64), (1.0, 500))), lambda _: None)
    new = subjects(tiny_bundle, 2000, seed=77)
    labels = labeler.label(SeedFeatures(tiny_bundle, new.codes).of(torch.arange(2000)))
    for place, kind in enumerate(labeler.kinds):
        standard = (labels.kinds[kind] - labeler.kind_median[place]) / labeler.kind_spread[place]
        assert 0.4 < float((standard < 0).float().mean()) < 0.6
        assert 0.6 < float((standard - standard.median()).abs().mean()) < 1.5
    kept = (labels.uncertainty <= labeler.discard_threshold(0.3, 1.0)).float().mean()
    assert 0.6 < float(kept) < 0.8
    assert labeler.discard_threshold(0.3, 0.2) < labeler.discard_threshold(0.3, 1.0)


def test_the_error_of_depth_is_told_in_its_unit_however_small() -> None:
    depth = np.array([[[2e-9, 4e-9]]], np.float32)
    said_of_it, truth = (StackedLabels(None, None, values, None) for values in (depth * np.float32(1.5), depth))
    held_out = HeldOut(np.array([0]), 1, said_of_it, None, None, {"depth": np.array([0.1], np.float32)})
    figures = held_out_figures(held_out, truth, LabelNames(), 2)
    assert figures["depth"] == {"rmse": 1.581e-9, "abs_rel": 0.5}


def test_examples_are_counted_by_hand() -> None:
    labels = StackedLabels(
        np.array([[[0, 0]], [[0, 255]], [[2, 0]]], np.uint8),
        np.array([[[1, 1, 2], [0, 0, 0]], [[1, 1, 1], [0, 0, 0]], [[0, 0, 0], [2, 2, 2]]], np.float32),
        None,
        np.array([[1], [-1], [1]]),
    )
    names = LabelNames(("floor", "ball", "bear"), ("nose", "paw"), (("species", ("panda", "koala")),))
    assert examples(labels, names) == {
        "segmentation": {"floor": 3, "ball": 0, "bear": 1},
        "keypoints": {"nose": 2, "paw": 1},
        "class": {"species": {"panda": 0, "koala": 2}},
    }
