"""Flipped seeds: what their labels are, when they are learnt from, and what that brings."""

from dataclasses import replace

import numpy as np
import torch

from models.bears import render
from models.bears.renderer import render_scenes
from models.bears.scene import KEYPOINT_MIRROR, draw_scene
from models.bundle import GeneratorBundle
from models.fitting import StackedLabels, fit
from models.fitting.fit import learn
from models.fitting.twins import Twins, flipped_labels, twins_of
from models.inversion.refinement import Inversions
from models.label_quality import class_iou, mean_known
from models.labels import LabelLayout, LabelMirror
from tests.models.fitting.subjects import LAYOUT, NAMES, QUICK, Subjects, subjects
from tests.models.mirrored_scenes import mirrored

BEARS = LabelMirror(classes=tuple(range(10)), points=tuple(map(int, KEYPOINT_MIRROR)), attributes=((0, 1, 2),))


def test_flipped_labels_are_those_of_the_mirrored_scene() -> None:
    made = render(range(6), 64)
    labels = StackedLabels(made.parts, made.keypoints, made.depth, made.species.astype(np.int64)[:, None])
    flipped = flipped_labels(labels, BEARS, 64)
    scenes = render_scenes([mirrored(draw_scene(seed)) for seed in range(6)], 64)
    assert flipped.masks is not None and flipped.keypoints is not None and flipped.depth is not None
    assert (flipped.masks != scenes.parts).mean() < 1e-3, "but for rays that graze a solid, in float32"
    assert np.array_equal(flipped.keypoints[..., 2], scenes.keypoints[..., 2])
    labeled = scenes.keypoints[..., 2] > 0
    assert np.allclose(flipped.keypoints[labeled], scenes.keypoints[labeled], atol=1e-3)
    same = flipped.masks == scenes.parts
    assert np.allclose(flipped.depth[same], scenes.depth[same], atol=1e-2)
    assert np.array_equal(flipped.attributes, labels.attributes)


def test_names_of_sides_trade_places_and_what_is_unknown_stays() -> None:
    mirror = LabelMirror(classes=(0, 2, 1), points=(1, 0), attributes=((1, 0),))
    labels = StackedLabels(
        np.array([[[0, 1, 2, 255]]], np.uint8),
        np.array([[[1.5, 0.5, 2], [0, 0, 0]]], np.float32),
        np.array([[[1, 2, 3, np.nan]]], np.float32),
        np.array([[0], [-1]], np.int64),
    )
    flipped = flipped_labels(labels, mirror, 4)
    assert np.array_equal(flipped.masks, [[[255, 1, 2, 0]]])
    assert np.array_equal(flipped.keypoints, [[[0, 0, 0], [2.5, 0.5, 2]]])
    assert np.array_equal(flipped.depth, [[[np.nan, 3, 2, 1]]], equal_nan=True)
    assert np.array_equal(flipped.attributes, [[1], [-1]])


def inversions(psnr_db: list[float]) -> Inversions:
    count = len(psnr_db)
    values = torch.tensor(psnr_db)
    images, misfit = torch.zeros(count, 3, 8, 8), torch.zeros(count, 8, 8)
    return Inversions(torch.zeros(count, 4, 16), images, misfit, values, values, values)


def test_twins_are_learnt_from_where_the_generator_makes_them_as_well() -> None:
    none = StackedLabels(None, None, None, None)
    symmetric = twins_of(inversions([24.5, 15.0, 27.0]), inversions([23.0, 23.0, 23.0]), none, 16.0)
    assert symmetric.usable.tolist() == [True, False, True]
    lopsided = twins_of(inversions([24.5, 15.0, 27.0]), inversions([25.0, 25.0, 25.0]), none, 16.0)
    assert not lopsided.usable.any()
    assert symmetric.rows_with(torch.tensor([1, 2])).tolist() == [1, 2, 5]


def test_seeds_of_another_domain_do_not_decide_whether_twins_are_learnt_from() -> None:
    none = StackedLabels(None, None, None, None)
    strangers = 9 * [9.0]
    lopsided = twins_of(inversions([18.0, *strangers]), inversions([25.0, *strangers]), none, 16.0)
    assert not lopsided.usable.any(), "nine that fit as badly either way say nothing"
    assert (lopsided.psnr_db, lopsided.straight_psnr_db) == (18.0, 25.0)
    symmetric = twins_of(inversions([25.0, 10.0]), inversions([25.0, 14.0]), none, 16.0)
    assert symmetric.usable.tolist() == [True, False]


def test_a_generator_that_knows_left_from_right_is_told_apart(tiny_bundle: GeneratorBundle) -> None:
    seeds = subjects(tiny_bundle, 3)
    mirror = LabelMirror(classes=(0, 1, 2), points=(0, 1), attributes=((0, 1),))
    settings = replace(QUICK, steps=2, pilots=((1.0, 8),))
    args = (tiny_bundle, seeds.images, seeds.labels.each(), LAYOUT, NAMES)
    flipped = fit(*args, settings, lambda *_: None, mirror=mirror).report["flipped"]
    assert flipped["used"] == 0
    assert flipped["straight_psnr_db"] > flipped["psnr_db"] + 1.0 and flipped["psnr_db"] > 0
    for outcome in (
        fit(*args, settings, lambda *_: None),
        fit(*args, replace(settings, flip=False), lambda *_: None, mirror=mirror),
    ):
        assert outcome.report["flipped"] is None
        assert len(outcome.predictions) == 3


def test_twins_teach_the_labeler_and_are_held_out_with_their_seeds(tiny_bundle: GeneratorBundle) -> None:
    few, more, unseen = (subjects(tiny_bundle, count, seed) for count, seed in ((6, 4), (6, 5), (24, 6)))
    layout = LabelLayout(classes=3)

    def masks(labels: StackedLabels) -> StackedLabels:
        return StackedLabels(labels.masks, None, None, None)

    def quality(twins: Twins | None) -> tuple[float, float]:
        learnt = learn(
            tiny_bundle, few.codes, masks(few.labels), [True] * 6, layout, QUICK, lambda *_: None, twins=twins
        )
        assert learnt.predictions.masks is not None and learnt.predictions.masks.shape[0] == 6
        assert learnt.held_out is not None and sorted(learnt.held_out.rows.tolist()) == list(range(6))
        _, features = tiny_bundle.generator.synthesis(unseen.codes)
        said, truth = learnt.labeler.label(features).masks, unseen.labels.masks
        own, right = learnt.held_out.labels.masks, few.labels.masks
        assert said is not None and truth is not None and own is not None and right is not None
        held_out = mean_known(class_iou(own, right[learnt.held_out.rows], 3))
        return mean_known(class_iou(said.numpy(), truth, 3)), held_out

    def twins(of: Subjects) -> Twins:
        return Twins(of.codes, torch.zeros(6, 16, 16), masks(of.labels), torch.ones(6, dtype=torch.bool), 30.0, 30.0)

    alone, alone_held_out = quality(None)
    taught, _ = quality(twins(more))
    assert taught > alone + 0.02
    # Copies of the seeds themselves would give everything away if they were not held out together.
    assert abs(quality(twins(few))[1] - alone_held_out) < 0.1
