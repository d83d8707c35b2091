"""Pixels that a reconstruction does not show are not learnt from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.bundle import GeneratorBundle
from models.fitting import StackedLabels
from models.fitting.fit import learn
from models.fitting.misfit import without_misfits
from models.label_quality import class_iou, mean_known
from models.labels import LabelLayout
from tests.models.fitting.subjects import QUICK, subjects

MISFIT = np.linspace(0, 1, 3 * 10 * 10, dtype=np.float32).reshape(3, 10, 10)


def labels(masks: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> StackedLabels:
    return StackedLabels(masks, np.ones((3, 1, 3), np.float32), np.ones((3, 10, 10), np.float32), None)


def test_the_worst_share_is_unknown() -> None:
    before = labels(np.zeros((3, 10, 10), np.uint8))
    after = without_misfits(before, MISFIT, [0, 1, 2], 0.1)
    assert after.masks is not None and after.depth is not None and before.masks is not None
    worst = MISFIT.ravel().argsort()[-30:]
    assert set(np.flatnonzero(after.masks == 255)) == set(worst)
    assert np.array_equal(np.isnan(after.depth), after.masks == 255)
    assert after.keypoints is before.keypoints
    assert (before.masks == 0).all(), "what they are compared with stays"


def test_images_that_are_not_learnt_from_neither_count_nor_change() -> None:
    after = without_misfits(labels(np.zeros((3, 10, 10), np.uint8)), MISFIT, [0, 1], 0.1)
    assert after.masks is not None
    unknown = after.masks == 255
    assert unknown.sum(axis=(1, 2)).tolist() == [0, 20, 0]


def test_half_of_a_class_is_learnt_from_however_badly_it_is_rebuilt() -> None:
    masks = np.zeros((3, 10, 10), np.uint8)
    masks[2, 8:] = 7
    after = without_misfits(labels(masks), MISFIT, [0, 1, 2], 0.2)
    assert after.masks is not None
    assert (after.masks == 7).sum() == 10
    assert (after.masks == 255).sum() == 60 - 10


def test_half_of_the_known_depth_is_learnt_from_however_badly_it_is_rebuilt() -> None:
    before = labels(np.full((3, 10, 10), 255, np.uint8))
    assert before.depth is not None
    before.depth[:] = np.nan
    before.depth[2, 8:] = 5.0
    after = without_misfits(before, MISFIT, [0, 1, 2], 0.2)
    assert after.depth is not None
    known = np.flatnonzero(~np.isnan(after.depth))
    assert np.array_equal(known, np.arange(280, 290)), "the better half of what is known"


def test_what_is_ignored_does_not_protect_itself() -> None:
    masks = np.full((3, 10, 10), 255, np.uint8)
    masks[0] = 0
    after = without_misfits(labels(masks), MISFIT, [0, 1, 2], 0.2)
    assert after.depth is not None
    assert np.isnan(after.depth).sum() == 60


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_seeds_that_are_rebuilt_exactly_are_learnt_from_whole(share: float) -> None:
    after = without_misfits(
        labels(np.zeros((3, 10, 10), np.uint8)), np.zeros((3, 10, 10), np.float32), [0, 1, 2], share
    )
    assert after.masks is not None and after.depth is not None
    assert (after.masks == 0).all() and not np.isnan(after.depth).any()


def test_a_labeler_is_right_where_labels_are_of_what_the_codes_do_not_show(tiny_bundle: GeneratorBundle) -> None:
    """A patch of every seed is labeled as what is not there; the reconstruction tells."""
    seeds, unseen = subjects(tiny_bundle, 10), subjects(tiny_bundle, 24, 6)
    assert seeds.labels.masks is not None and unseen.labels.masks is not None
    masks, misfit = seeds.labels.masks.copy(), torch.zeros(seeds.labels.masks.shape)
    masks[:, 3:9, 3:9] = (masks[:, 3:9, 3:9] + 1) % 3
    misfit[:, 3:9, 3:9] = 1.0
    share = float(misfit.mean())
    _, features = tiny_bundle.generator.synthesis(unseen.codes)

    def quality(share: float) -> float:
        learnt = learn(
            tiny_bundle,
            seeds.codes,
            StackedLabels(masks, None, None, None),
            [True] * 10,
            LabelLayout(classes=3),
            replace(QUICK, folds=0, misfit_share=share),
            lambda *_: None,
            misfit=misfit,
        )
        said = learnt.labeler.label(features).masks
        assert said is not None
        return mean_known(class_iou(said.numpy(), unseen.labels.masks, 3))

    assert quality(share) > quality(0.0) + 0.02
