"""Batches in parts, and whoever works on large ones: what does not fit is done in smaller pieces."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.fitting.fit import learn, seed_pictures
from models.generator import Synthesis
from models.labels import LabelLayout
from models.parts import Parts
from tests.models.fitting.subjects import QUICK, subjects


def test_a_batch_is_cut_until_its_parts_fit_and_later_ones_at_once() -> None:
    parts, asked = Parts(), []

    def scarce(part: Tensor) -> list[float]:
        asked.append(len(part))
        if len(part) > 3:
            raise torch.OutOfMemoryError
        return part.tolist()

    for _ in range(2):
        assert parts.each(torch.arange(8), scarce) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert asked == [8, 4] + 8 * [2]


def test_what_has_no_room_alone_is_given_up() -> None:
    def none(_: Tensor) -> None:
        raise torch.OutOfMemoryError("not even one")

    with pytest.raises(torch.OutOfMemoryError, match="not even one"):
        Parts().each(torch.arange(8), none)


def test_a_fit_draws_its_random_samples_in_parts(tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = subjects(tiny_bundle, 6)
    truth = replace(seeds.labels, keypoints=None, depth=None, attributes=None)
    settings = replace(QUICK, folds=0, steps=4, second_steps=8, lessons=64, teacher_steps=4, pilots=((1.0, 64),))
    pictures = seed_pictures(seeds.images, truth, None, None)
    run, asked = Synthesis.forward, Counter[int]()

    def scarce(self: Synthesis, ws: Tensor, *given: object) -> object:
        asked[len(ws)] += 1
        if len(ws) > 16:
            raise torch.OutOfMemoryError("no memory for so many")
        return run(self, ws, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Synthesis, "forward", scarce)
    layout, ignore = LabelLayout(classes=3), lambda *_: None
    found = learn(tiny_bundle, seeds.codes, truth, [True] * 6, layout, settings, ignore, pictures=pictures)
    assert found.lessons == 64
    assert (asked[64], asked[32]) == (2, 2), "the lessons and the pilot samples, each once"
    assert asked[16] == 2 * 64 // 16
    assert torch.isfinite(found.labeler.thresholds).all()
