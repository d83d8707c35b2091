"""From images and labels to a labeler: what enters, what is reported, and what ends a fit."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.bundle import GeneratorBundle
from models.fitting import FitError, FitOutcome, FitSettings, fit
from models.label_quality import class_iou, mean_known
from models.labels import ImageLabels, LabelLayout
from tests.models.fitting.subjects import LAYOUT, NAMES, QUICK, subjects


def fitted(bundle: GeneratorBundle, count: int, settings: FitSettings = QUICK) -> FitOutcome:
    seeds = subjects(bundle, count)
    return fit(bundle, seeds.images, seeds.labels.each(), LAYOUT, NAMES, settings, lambda *_: None)


def test_a_fit_labels_new_samples_and_reports_every_seed(tiny_bundle: GeneratorBundle) -> None:
    seeds = subjects(tiny_bundle, 8)
    seeds.images[3] = np.random.default_rng(0).integers(0, 256, seeds.images[3].shape)
    phases: list[tuple[str, int, int]] = []
    outcome = fit(tiny_bundle, seeds.images, seeds.labels.each(), LAYOUT, NAMES, QUICK, lambda *p: phases.append(p))

    rows = outcome.report["seeds"]
    assert [row["index"] for row in rows] == list(range(8))
    assert not rows[3]["included"]
    assert "dB PSNR" in rows[3]["reason"]
    assert rows[3]["held_out"] is None
    good = [row for index, row in enumerate(rows) if index != 3]
    assert sum(row["included"] for row in good) >= 6
    assert np.mean([row["psnr_db"] for row in good]) > 20
    assert {"mean_iou", "pck", "depth_abs_rel", "class_accuracy"} <= good[0]["held_out"].keys() & good[0].keys()
    assert {phase for phase, *_ in phases} == {"invert", "fit"}
    # 150 steps, three folds of 60, one batch of pilot samples for truncation 0.5 and two for 1.0.
    assert phases[-1] == ("fit", 333, 333)
    done = [part for phase, part, _ in phases if phase == "fit"]
    assert done == sorted(done)
    assert outcome.report["perceptual"] == {"backbone": "squeeze", "weights": "random"}
    assert outcome.codes.shape == (8, tiny_bundle.num_ws, 16)
    assert json.loads(json.dumps(outcome.report, allow_nan=False)) == json.loads(json.dumps(outcome.report))

    assert len(outcome.predictions) == 8
    predicted = np.stack([labels.mask for labels in outcome.predictions if labels.mask is not None])
    assert seeds.labels.masks is not None
    used = [row["index"] for row in rows if row["included"]]
    scores = [
        mean_known(class_iou(masks[used], seeds.labels.masks[used], 3))
        for masks in (predicted, np.ones_like(predicted))
    ]
    assert scores[0] > scores[1] + 0.3, "better than always the commonest class"
    assert outcome.labeler.discard_threshold(0.1, 1.0) < outcome.labeler.discard_threshold(0.01, 1.0)


def test_a_forced_seed_enters_the_fit_and_says_so(tiny_bundle: GeneratorBundle) -> None:
    seeds = subjects(tiny_bundle, 2)
    seeds.images[1] = np.random.default_rng(0).integers(0, 256, seeds.images[1].shape)
    labels = seeds.labels.each()
    settings = replace(QUICK, steps=2, pilots=((1.0, 8),))
    outcome = fit(tiny_bundle, seeds.images, labels, LAYOUT, NAMES, settings, lambda *_: None, forced=[False, True])
    first, second = outcome.report["seeds"]
    assert (first["included"], first["forced"], first["reason"]) == (True, False, None)
    assert (second["included"], second["forced"]) == (True, True)
    assert second["reason"].startswith("forced into the fit")
    assert outcome.report["examples"]["class"]["mood"] == {
        "dull": int(2 - seeds.labels.attributes.sum()),
        "keen": int(seeds.labels.attributes.sum()),
    }


def test_the_same_seeds_give_the_same_labeler(tiny_bundle: GeneratorBundle) -> None:
    quicker = replace(QUICK, steps=30, refinement=replace(QUICK.refinement, steps=20), min_psnr_db=0.0)
    first, again = (fitted(tiny_bundle, 2, quicker).labeler.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_seeds_from_another_domain_end_the_fit_with_advice(tiny_bundle: GeneratorBundle) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    labels = [ImageLabels(mask=np.zeros((16, 16), np.uint8))] * 2
    with pytest.raises(FitError, match="none of the 2 seeds can be rebuilt"):
        fit(tiny_bundle, images, labels, LabelLayout(classes=1), replace(NAMES), QUICK, lambda *_: None)


def test_an_exception_from_progress_ends_the_fit(tiny_bundle: GeneratorBundle) -> None:
    class CancelledError(Exception):
        pass

    def cancel(phase: str, done: int, total: int) -> None:
        if phase == "fit" and done == 3:
            raise CancelledError

    seeds = subjects(tiny_bundle, 2)
    quicker = replace(QUICK, refinement=replace(QUICK.refinement, steps=2), min_psnr_db=0.0)
    with pytest.raises(CancelledError):
        fit(tiny_bundle, seeds.images, seeds.labels.each(), LAYOUT, NAMES, quicker, cancel)


def test_labels_that_are_missing_are_named(tiny_bundle: GeneratorBundle) -> None:
    seeds = subjects(tiny_bundle, 2)
    labels = [seeds.labels.each()[0], ImageLabels(mask=np.zeros((16, 16), np.uint8))]
    with pytest.raises(ValueError, match="image 1 has no keypoints"):
        fit(tiny_bundle, seeds.images, labels, LAYOUT, NAMES, QUICK, lambda *_: None)


def test_the_fingerprint_tells_fits_apart_and_is_json() -> None:
    assert FitSettings().fingerprint() == FitSettings().fingerprint()
    assert FitSettings(steps=1).fingerprint() != FitSettings().fingerprint()
    assert FitSettings().fingerprint()["lpips_weights"] == "random"
