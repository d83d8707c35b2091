"""Whether what seeds show, but their codes do not, comes back by the second round."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.fitting import FitSettings, StackedLabels, second_round, seed_features
from models.fitting.fit import Learnt, learn, seed_pictures
from models.fitting.second_round import FEWEST, SeedPictures, lesson_count, second_round_steps
from models.fitting.seed_features import SeedFeatures, smallest_bytes
from models.fitting.teacher import Pictures, Teacher, teach
from models.fitting.training import train_labeler
from models.fitting.twins import Twins
from models.label_quality import class_iou, mean_known
from models.labeler import Labeler
from models.labels import LabelLayout, LabelMirror
from models.pictures import to_uint8
from models.sampling import batch_size
from tests.models.fitting.subjects import QUICK

LAYOUT = LabelLayout(classes=2)
SETTINGS = replace(QUICK, folds=0, second_steps=300, lessons=60, teacher_steps=150, pilots=((1.0, 64),))
SEEDS = 8


def samples(bundle: GeneratorBundle, count: int, seed: int) -> tuple[Tensor, npt.NDArray[np.uint8], StackedLabels]:
    """Codes, images and masks of random samples: 1 where red is above its mean, which an image shows."""
    z = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    codes = bundle.generator.broadcast(bundle.generator.mapping(z)).clone()
    images = to_uint8(bundle.generator.synthesis(codes)[0])
    red = images[..., 0].astype(np.float64)
    return codes, images, StackedLabels((red > red.mean()).astype(np.uint8), None, None, None)


def learnt(bundle: GeneratorBundle, settings: FitSettings, told: list[tuple[int, int]]) -> Learnt:
    """From seeds that were inverted as badly as can be: to the codes of other images."""
    _, images, truth = samples(bundle, SEEDS, 1)
    codes, _, _ = samples(bundle, SEEDS, 2)
    pictures = seed_pictures(images, truth, None, None)
    return learn(
        bundle, codes, truth, [True] * SEEDS, LAYOUT, settings, lambda *done: told.append(done), pictures=pictures
    )


def agreement(bundle: GeneratorBundle, found: Learnt) -> float:
    """mIoU of its labels of images that nothing has seen."""
    codes, _, truth = samples(bundle, 40, 3)
    masks = found.labeler.label(SeedFeatures(bundle, codes).of(torch.arange(40))).masks
    assert masks is not None and truth.masks is not None
    return mean_known(class_iou(masks.numpy(), truth.masks, 2))


@pytest.mark.parametrize("lattice", [second_round.LATTICE_SIDE, 8])
def test_lessons_make_good_for_seeds_that_were_inverted_badly(
    lattice: int, tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_round, "LATTICE_SIDE", lattice)
    told: list[tuple[int, int]] = []
    one, two = learnt(tiny_bundle, replace(SETTINGS, lessons=0), []), learnt(tiny_bundle, SETTINGS, told)
    assert (one.lessons, two.lessons) == (0, 60)
    assert agreement(tiny_bundle, one) < 0.6 and agreement(tiny_bundle, two) > agreement(tiny_bundle, one) + 0.15
    assert "second_round" in two.seconds and "second_round" not in one.seconds
    done, totals = zip(*told, strict=True)
    assert list(done) == sorted(done) and set(totals) == {done[-1]}
    batches = -(-60 // batch_size(tiny_bundle)) + -(-64 // batch_size(tiny_bundle))
    assert done[-1] == SETTINGS.steps + SETTINGS.second_steps + 2 * SETTINGS.teacher_steps + batches


def test_a_teacher_that_sees_less_is_believed_where_it_is_sure(
    tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[Tensor] = []

    def watched(*given: Any) -> Labeler:
        masks.append(given[-1].labels.masks)
        return train_labeler(*given)

    monkeypatch.setattr(second_round, "train_labeler", watched)
    for side in (16, 8):
        learnt(tiny_bundle, replace(SETTINGS, teacher_side=side), [])
    exact, coarse = masks
    known = coarse != 255
    assert (exact != 255).all() and 0.1 < known.float().mean() < 0.95
    assert (coarse == exact)[known].float().mean() > 0.9


def test_seeds_left_out_of_the_fit_are_not_shown_to_the_teacher(tiny_bundle: GeneratorBundle) -> None:
    codes, images, truth = samples(tiny_bundle, SEEDS, 1)
    assert truth.masks is not None
    short = replace(SETTINGS, steps=5, second_steps=10, teacher_steps=5)

    def masks(wrong: bool) -> npt.NDArray[np.uint8]:
        labels = truth.masks.copy()  # type: ignore[union-attr]
        if wrong:
            labels[-1] = 1 - labels[-1]
        said = StackedLabels(labels, None, None, None)
        included = [True] * (SEEDS - 1) + [False]
        pictures = seed_pictures(images, said, None, None)
        found = learn(tiny_bundle, codes, said, included, LAYOUT, short, lambda *_: None, pictures=pictures)
        assert found.predictions.masks is not None
        return found.predictions.masks

    assert np.array_equal(masks(wrong=True), masks(wrong=False))


def test_there_is_a_second_round_where_there_are_masks_and_room(
    tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = FitSettings()
    assert lesson_count(tiny_bundle, LAYOUT, 100, settings) == settings.lessons
    assert lesson_count(tiny_bundle, LabelLayout(points=2), 100, settings) == 0
    assert lesson_count(tiny_bundle, LAYOUT, 100, replace(settings, lessons=FEWEST - 1)) == 0
    each = smallest_bytes(tiny_bundle, 16)
    assert each == 2 * sum(level[0].numel() for level in SeedFeatures(tiny_bundle, samples(tiny_bundle, 1, 1)[0]).kept)  # type: ignore[union-attr]
    for room, count in ((100 + FEWEST, FEWEST), (100 + FEWEST - 1, 0), (50, 0)):
        monkeypatch.setattr(second_round, "FEATURE_CACHE_BYTES", room * each)
        assert lesson_count(tiny_bundle, LAYOUT, 100, settings) == count
    assert second_round_steps(tiny_bundle, 0, SEEDS, settings) == (0, 0, 0)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_lessons_are_kept_whatever_the_precision_of_seeds(
    precision: torch.dtype, tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []

    begin = SeedFeatures.__init__

    def watched(self: SeedFeatures, *given: Any) -> None:
        begin(self, *given)
        kept.append(self.kept is not None)

    room = (2 * SEEDS + 60 - 1) * smallest_bytes(tiny_bundle, 16)
    monkeypatch.setattr(second_round, "FEATURE_CACHE_BYTES", room)
    monkeypatch.setattr(SeedFeatures, "__init__", watched)
    monkeypatch.setattr(seed_features, "training_precision", lambda _: precision)
    found = learnt(tiny_bundle, replace(SETTINGS, steps=5, second_steps=5, teacher_steps=5), [])
    assert found.lessons == 60 and kept == [True, True]


@pytest.mark.parametrize(
    ("room", "usable", "expected"),
    [
        (SEEDS + FEWEST, False, (FEWEST, 0)),
        (SEEDS + FEWEST, True, (FEWEST, 0)),
        (2 * SEEDS + FEWEST, True, (FEWEST, SEEDS)),
        (2 * SEEDS + FEWEST - 1, True, (SEEDS + FEWEST - 1, 0)),
        (2 * SEEDS, True, (0, SEEDS)),
    ],
)
def test_twins_take_no_room_that_lessons_need(
    room: int,
    usable: bool,
    expected: tuple[int, int],
    tiny_bundle: GeneratorBundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor any that are not learnt from."""
    codes, images, truth = samples(tiny_bundle, SEEDS, 1)
    short = replace(SETTINGS, steps=5, second_steps=5, teacher_steps=5)
    monkeypatch.setattr(second_round, "FEATURE_CACHE_BYTES", room * smallest_bytes(tiny_bundle, 16))
    twins = Twins(codes, torch.zeros(SEEDS, 16, 16), truth, torch.tensor([usable] * SEEDS), 30.0, 30.0)
    pictures, included = seed_pictures(images, truth, None, None), [True] * SEEDS
    found = learn(tiny_bundle, codes, truth, included, LAYOUT, short, lambda *_: None, twins, pictures=pictures)
    assert (found.lessons, found.flipped) == expected


def test_a_fit_can_be_stopped_while_features_are_made(tiny_bundle: GeneratorBundle) -> None:
    told: list[tuple[int, int]] = []
    learnt(tiny_bundle, replace(SETTINGS, steps=5, second_steps=5, teacher_steps=5), told)
    first = told.index((1, told[-1][1]))
    assert first >= SEEDS // 4, "once for each chunk of seeds"
    before_relearning = next(done for done, _ in told if [each for each, _ in told].count(done) >= 60 // 4)
    assert before_relearning == told[-1][0] - 5 - 1, "once for each chunk of lessons"


@pytest.mark.parametrize(("few", "passes"), [(SEEDS + 1, 3), (SEEDS, 1)])
def test_with_few_seeds_the_teacher_learns_on_from_what_it_says(
    few: int, passes: int, tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Pictures, FitSettings, Teacher | None, Teacher]] = []

    def watched(*given: Any) -> Teacher:
        generated, settings, start = given[1], given[4], given[7] if len(given) > 7 else None
        calls.append((generated, settings, start, teach(*given)))
        return calls[-1][-1]

    monkeypatch.setattr(second_round, "teach", watched)
    monkeypatch.setattr(second_round, "FEW_SEEDS", few)
    settings, told = (
        replace(SETTINGS, steps=5, first_steps=3, second_steps=10, teacher_steps=8),
        list[tuple[int, int]](),
    )
    learnt(tiny_bundle, settings, told)
    assert len(calls) == passes and calls[0][2] is None
    assert [each.teacher_steps for _, each, _, _ in calls] == [8, 4, 4][:passes]
    for (_, _, _, before), (generated, each, start, _) in pairwise(calls):
        assert start is before and each.teacher_rate == settings.teacher_rate / 2
        assert torch.equal(generated.masks, before.masks(generated.images, generated.images.shape[-1]))
        assert not torch.equal(generated.masks, calls[0][0].masks)
    done, totals = zip(*told, strict=True)
    assert list(done) == sorted(done) and set(totals) == {done[-1]}
    batches = -(-60 // batch_size(tiny_bundle)) + -(-64 // batch_size(tiny_bundle))
    assert done[-1] == (3 if passes == 1 else 5) + 10 + sum([8, 4, 4][:passes]) + batches


def test_a_class_that_few_seeds_show_counts_as_few_seeds(
    tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, images, truth = samples(tiny_bundle, SEEDS, 1)
    assert truth.masks is not None
    masks = truth.masks.copy()
    masks[:, 0] = 255
    monkeypatch.setattr(second_round, "FEW_SEEDS", 4)
    short = replace(SETTINGS, steps=7, first_steps=3, second_steps=5, teacher_steps=8)
    layout = LabelLayout(classes=4)
    batches = -(-60 // batch_size(tiny_bundle)) + -(-64 // batch_size(tiny_bundle))

    def steps(masks: npt.NDArray[np.uint8]) -> int:
        told: list[tuple[int, int]] = []
        said, included = StackedLabels(masks, None, None, None), [True] * SEEDS
        pictures = seed_pictures(images, said, None, None)
        learn(tiny_bundle, codes, said, included, layout, short, lambda *done: told.append(done), pictures=pictures)
        return told[-1][1] - batches

    assert SeedPictures(images, masks, None).fewest == SEEDS, "what none shows does not count, nor what is ignored"
    assert steps(masks) == 3 + 8 + 5
    masks[:3, 1] = 3
    assert SeedPictures(images, masks, None).fewest == 3
    assert steps(masks) == 7 + 8 + 2 * 4 + 5
    masks[:] = 255
    assert SeedPictures(images, masks, None).fewest == SEEDS


def test_teachers_flip_where_names_and_generator_allow() -> None:
    images, truth = np.zeros((2, 8, 8, 3), np.uint8), StackedLabels(np.zeros((2, 8, 8), np.uint8), None, None, None)
    mirror, codes = LabelMirror(classes=(1, 0)), torch.zeros(2, 4, 16)

    def twins(*usable: bool) -> Twins:
        return Twins(codes, torch.zeros(2, 8, 8), truth, torch.tensor(usable), 30.0, 30.0)

    def flips(twins: Twins | None, mirror: LabelMirror | None) -> tuple[int, ...] | None:
        pictures = seed_pictures(images, truth, twins, mirror)
        assert pictures is not None
        return pictures.mirror

    assert flips(twins(True, False), mirror) == (1, 0)
    assert flips(twins(False, False), mirror) is None
    assert flips(None, mirror) is None and flips(None, None) is None
    assert seed_pictures(images, replace(truth, masks=None), None, None) is None
