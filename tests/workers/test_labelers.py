"""Fitting: once for every set of inputs, with a sheet and a report, and refused with words."""

import re
import sys
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.fitting import twins
from models.fitting.seed_labels import LabelTensors
from models.fitting.training import train_labeler
from models.fitting.twins import Twins, twins_of
from models.heads.segmentation import IGNORED
from models.labeler import Labeler
from service.projects import force_seeds
from service.records import JobRecord, Phase, ProjectRecord, labeler_key
from service.requests import GenerateRequest
from tests.workers.conftest import QUICK_FIT, NewJob
from tests.workers.world import PROJECT, SEEDS
from workers.fit_notes import fit_notes
from workers.labelers import ensure_labeler, read_report
from workers.lease import lease
from workers.png import read_image
from workers.public_errors import JobFailure
from workers.workbench import Cancelled

SIDES = ("left_half", "right_half")


def test_fitting_twice_is_free(new_job: NewJob) -> None:
    bench = new_job("job", count=1, shard_size=1)
    other = replace(QUICK_FIT, steps=10)
    key = ensure_labeler(bench, other)
    written = [row.modified for row in bench.store.list(f"labelers/{key}/")]
    assert len(written) == 5
    assert ensure_labeler(bench, other) == key != ensure_labeler(bench, QUICK_FIT)
    assert [row.modified for row in bench.store.list(f"labelers/{key}/")] == written
    assert bench.ledger.get("job").phase is Phase.FIT
    height, width, _ = read_image(bench.store.read(labeler_key(key, "sheet.png"))).shape
    assert width > 500
    assert height > 100


def test_seeds_that_cannot_be_fitted_are_refused_with_words(new_job: NewJob) -> None:
    bench = new_job("job", count=1, shard_size=1)
    with pytest.raises(JobFailure, match="none of the 3 seeds") as refusal:
        ensure_labeler(bench, replace(QUICK_FIT, min_psnr_db=90.0))
    assert (refusal.value.error.code, refusal.value.error.retry) == ("fit-failed", False)


def test_a_seed_forced_later_is_in_the_next_fit(new_job: NewJob) -> None:
    bench = new_job("job", count=1, shard_size=1)
    strict = replace(QUICK_FIT, min_psnr_db=90.0)
    before = ensure_labeler(bench, QUICK_FIT)
    bench = new_job("again", count=1, shard_size=1)
    force_seeds(bench.store, PROJECT, ["sample-1"])
    assert ensure_labeler(bench, QUICK_FIT) != before
    report = read_report(bench.store, ensure_labeler(bench, strict))
    assert [seed["included"] for seed in report["seeds"]] == [False, True, False]
    assert report["seeds"][1]["reason"].startswith("forced into the fit")


def test_a_fit_can_be_cancelled(new_job: NewJob) -> None:
    bench = new_job("job", count=1, shard_size=1)
    bench.ledger.start("job")
    bench.ledger.cancel("job")
    with pytest.raises(Cancelled):
        ensure_labeler(bench, replace(QUICK_FIT, steps=11))


def test_seeds_are_flipped_unless_names_of_sides_leave_it_open_what_flipping_does(new_job: NewJob) -> None:
    bench = new_job("job", count=1, shard_size=1)
    report = read_report(bench.store, ensure_labeler(bench, QUICK_FIT))
    assert 0 <= report["flipped"]["used"] <= 3
    assert report["flipped"]["psnr_db"] > 0
    sides = [item.model_copy(update={"name": name}) for item, name in zip(bench.project.classes, SIDES, strict=False)]
    lopsided = bench.project.model_copy(update={"classes": [*sides, *bench.project.classes[2:]]})
    bench.store.put(ProjectRecord.key(PROJECT), lopsided.model_dump_json().encode())
    bench = new_job("another", count=1, shard_size=1)
    report = read_report(bench.store, ensure_labeler(bench, QUICK_FIT))
    assert report["flipped"] is None
    assert any("`mirror`" in note for note in fit_notes(report, lopsided))
    for flip in (True, False):
        told = lopsided.model_copy(update={"flip": flip})
        bench.store.put(ProjectRecord.key(PROJECT), told.model_dump_json().encode())
        bench = new_job(f"told-{int(flip)}", count=1, shard_size=1)
        report = read_report(bench.store, ensure_labeler(bench, QUICK_FIT))
        assert (report["flipped"] is not None) == flip
        assert not any("`mirror`" in note for note in fit_notes(report, told))


def test_what_is_learnt_of_flipped_seeds_is_what_the_schema_says(
    new_job: NewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirrored pair of classes changes places in the flipped masks that the labeler learns from."""
    bench = new_job("job", count=1, shard_size=1)
    dark, middle, *others = bench.project.classes
    pair = [dark.model_copy(update={"mirror": middle.name}), middle.model_copy(update={"mirror": dark.name})]
    mirrored = bench.project.model_copy(update={"classes": [*pair, *others]})
    bench.store.put(ProjectRecord.key(PROJECT), mirrored.model_dump_json().encode())
    learnt_from: list[tuple[npt.NDArray[np.uint8], list[int]]] = []

    def watched(features: object, labels: LabelTensors, rows: torch.Tensor, *rest: object) -> Labeler:
        learnt_from.append((labels.masks.numpy(), rows.tolist()))  # type: ignore[union-attr]
        return train_labeler(features, labels, rows, *rest)  # type: ignore[arg-type]

    def all_usable(*given: object) -> Twins:
        twins = twins_of(*given)  # type: ignore[arg-type]
        return replace(twins, usable=torch.ones(SEEDS, dtype=torch.bool))

    fitting = sys.modules["models.fitting.fit"]  # the package has a function of that name
    monkeypatch.setattr(fitting, "train_labeler", watched)
    monkeypatch.setattr(fitting, "twins_of", all_usable)
    report = read_report(bench.store, ensure_labeler(new_job("again", count=1, shard_size=1), QUICK_FIT))
    (masks, rows), *_ = learnt_from
    assert rows == list(range(2 * SEEDS))
    assert report["flipped"]["used"] == SEEDS
    exchanged = np.array([1, 0, 2], np.uint8)
    for number in range(SEEDS):
        flipped, seed = masks[SEEDS + number], masks[number][:, ::-1]
        known = (flipped != IGNORED) & (seed != IGNORED)  # but for what is badly rebuilt
        assert known.mean() > 0.8
        assert (flipped[known] == exchanged[seed[known]]).all()


def test_a_seed_that_is_forced_is_learnt_from(new_job: NewJob) -> None:
    bench = new_job("job", count=1, shard_size=1)
    first, *others = bench.project.seeds
    forced = bench.project.model_copy(update={"seeds": [first.model_copy(update={"forced": True}), *others]})
    bench.store.put(ProjectRecord.key(PROJECT), forced.model_dump_json().encode())
    bench = new_job("again", count=1, shard_size=1)
    report = read_report(bench.store, ensure_labeler(bench, replace(QUICK_FIT, min_psnr_db=90.0)))
    assert [seed["included"] for seed in report["seeds"]] == [True, False, False]


def test_the_report_has_a_page(new_job: NewJob) -> None:
    bench = new_job("job", count=1, shard_size=1)
    key = ensure_labeler(bench, QUICK_FIT)
    height, width, _ = read_image(bench.store.read(labeler_key(key, "report.png"))).shape
    assert width > 600
    assert height > 100


def test_notes_tell_of_seeds_left_out_or_forced_of_advice_and_of_random_features(new_job: NewJob) -> None:
    bench = new_job("job", count=1, shard_size=1)
    report = read_report(bench.store, ensure_labeler(bench, QUICK_FIT))
    report["seeds"][1]["included"] = False
    report["seeds"][2]["reason"] = "forced into the fit, though …"
    report["perceptual"]["weights"] = "random"
    report["flipped"]["usable"] = 3
    report["advice"] = ["one.", "two.", "three.", "four.", "five."]
    names = [seed.model_copy(update={"name": name}) for seed, name in zip(bench.project.seeds, "abc", strict=True)]
    project = bench.project.model_copy(update={"seeds": names})
    left_out, forced, *advice, more, random = fit_notes(report, project)
    assert "1 of 3 seeds" in left_out
    assert re.search(r" b \(seed 1, \d+\.\d dB\)\.$", left_out), "pictures call it seed 1"
    assert " c (seed 2, " in forced
    assert "a (" not in forced
    assert advice == ["one.", "two.", "three."]
    assert "2 more" in more
    assert "LABELMINT_LPIPS_WEIGHTS" in random
    fine = [seed | {"included": True, "reason": None, "psnr_db": 27.0} for seed in report["seeds"]]
    report |= {"seeds": fine, "advice": [], "perceptual": {"weights": "pretrained"}}
    assert fit_notes(report, project) == []
    asked = report["settings"]["refinement"]["steps"]
    fine[1]["psnr_db"], report["refinement_steps"] = 20.0, asked - 1
    far, short = fit_notes(report, project)
    assert "b (seed 1, 20.0 dB)" in far
    assert "a (" not in far
    assert f"{asked - 1} of {asked} steps" in short


def test_a_note_tells_that_flipped_seeds_are_rebuilt_too_badly_to_learn_from(
    new_job: NewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the project wants them outright."""
    monkeypatch.setattr(twins, "TOLERANCE_DB", -100.0)
    bench = new_job("job", count=1, shard_size=1)
    project = bench.project.model_copy(update={"flip": True})
    bench.store.put(ProjectRecord.key(PROJECT), project.model_dump_json().encode())
    bench = new_job("again", count=1, shard_size=1)
    report = read_report(bench.store, ensure_labeler(bench, replace(QUICK_FIT, steps=12)))
    flipped = report["flipped"]
    assert (flipped["usable"], flipped["used"]) == (0, 0)
    assert flipped["straight_psnr_db"] == report["mean_psnr_db"], "every seed counts here"
    told = f"{flipped['psnr_db']:.1f} dB on average, and the same seeds as they are {report['mean_psnr_db']:.1f} dB."
    (note,) = [note for note in fit_notes(report, project) if "flipped" in note]
    assert note.endswith(told)
    flipped["usable"] = 1
    assert not [note for note in fit_notes(report, project) if "flipped" in note], "lessons have taken its room"


def test_two_jobs_of_a_project_fit_once(new_job: NewJob) -> None:
    """The second finds the first's labeler as soon as it is there, though the first still holds the lease."""
    first = new_job("first", count=1, shard_size=1)
    first.ledger.accept(JobRecord(id="second", request=GenerateRequest(project_id=PROJECT, count=1)))
    second = replace(first, job_id="second")
    key = ensure_labeler(first, QUICK_FIT)
    with lease(first.redis, f"fit:{key}", "first", lambda: False):
        assert ensure_labeler(second, QUICK_FIT) == key
