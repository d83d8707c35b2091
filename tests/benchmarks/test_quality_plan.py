"""The quality benchmark from end to end with a plan as small as can be, and what it says of its results."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality import artefacts, document, tables
from benchmarks.quality.ablations import ABLATIONS, ablation_summary, variants
from benchmarks.quality.arguments import command_of, parser_of, plan_of
from benchmarks.quality.artefacts import Bears, Renders, World
from benchmarks.quality.data import TEST_SEED, rendered
from benchmarks.quality.plan import FULL, QUICK, Plan
from benchmarks.quality.record import Record
from benchmarks.quality.run import unfinished
from benchmarks.quality.sources import Sampling
from benchmarks.quality.steps import Place, digest
from benchmarks.quality.summary import bars, summary
from benchmarks.quality.training import Budget
from benchmarks.quality.trial import SEEDLESS, SOURCES, Trial
from models.bears import DRESSED, PARTS, PLAIN, Domain
from models.bundled import bundled_folders
from models.fitting import FitSettings
from models.inversion.refinement import RefinementSettings

TINY = Plan(
    counts=(3,),
    draws=1,
    budget=Budget(steps=8, batch=2),
    full=4,
    annotated=4,
    annotator_budget=Budget(steps=8, batch=2),
    test=5,
    sampling=Sampling(count=6),
    fit=FitSettings(
        members=2,
        hidden=(8,),
        shared=8,
        steps=3,
        second_steps=6,
        lessons=50,
        teacher_steps=2,
        image_steps=2,
        folds=0,
        min_psnr_db=0.0,
        pilots=((1.0, 16),),
        refinement=RefinementSettings(steps=1, lpips_weight=0.0),
        lpips_backbone="squeeze",
    ),
)
WORLD = World("generator", Bears("plain", "drawn", 64))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    artefacts.bundle_of.cache_clear()


def noted(path: Path, plan: Plan, found: dict[tuple[str, str, int, int], dict[str, object]]) -> Record:
    """A record in which trials, named by kind, source, seeds and draw, said these things."""
    record = Record(path)
    for (kind, source, seeds, draw), facts in found.items():
        record.add(plan.trial(WORLD, kind, source, seeds, draw), facts)  # type: ignore[arg-type]
    return record


@pytest.mark.parametrize(("domain", "prefix"), [(PLAIN, ""), (DRESSED, "dressed-")])
def test_a_tiny_plan_from_renders_to_the_page(
    domain: Domain, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefacts, "FEW", 3)
    place, record = Place(tmp_path / "out", bundled_folders()[0]), Record(tmp_path / "results.jsonl")
    world = World.of(place.generator, domain)
    trials = TINY.trials(world)
    reports: list[tuple[int, int]] = []
    for step in unfinished(trials, place, record):
        record.add(step, step.make(place, lambda done, total: reports.append((done, total))) | {"seconds": 1.0})
    assert unfinished(trials, place, Record(tmp_path / "results.jsonl")) == []
    assert all(0 <= done <= total for done, total in reports)

    result = json.loads(
        json.dumps(summary(TINY, world, record) | {"device": "a machine", "workers": 1, "command": "it"})
    )
    for name in ("segmentation", "spread"):
        assert set(result[name]) == set(SOURCES)
        assert all(set(row) == {"3"} for source, row in result[name].items() if source not in SEEDLESS)
    assert 0 <= result["segmentation"]["handsoff"]["3"] <= 1 and 0 <= result["segmentation"]["full"] <= 1
    assert set(result["kinds"]) == {"keypoints_pck", "depth_abs_rel", "depth_rmse", "class_accuracy"}
    for name, row in result["kinds"].items():
        assert set(row) == {"seeds", "handsoff", "handsoff_plus_seeds", "full"}
        assert result[name] == row["handsoff"]["mean"] and row["full"]["mean"] is not None
    assert result["timing"]["threads"] == 1 and result["fit_s"] > 0 and result["inversion_s_per_image"] > 0
    assert 5 < result["inversion_psnr_db"] < 40
    assert set(result["class_iou"]["full"]) == set(domain.parts)

    (tmp_path / f"{domain.name}-quick.json").write_text(json.dumps(result))
    page = tmp_path / "docs" / "quality.md"
    document.write(page, tmp_path, domain.name, quick=True)
    assert tables.segmentation_table(result) in page.read_text() and "a machine" in page.read_text()
    for name in ("segmentation", "classes"):
        assert (page.parent / f"pictures/quality-{prefix}{name}.png").read_bytes().startswith(b"\x89PNG")


def test_renders_that_are_kept_are_those_that_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artefacts, "FEW", 2)
    monkeypatch.setattr(artefacts, "PART", 2)
    place, kept = Place(tmp_path, Path()), Renders(replace(WORLD.bears, side=16), TEST_SEED, 5)
    assert [step.count for step in kept.needs if isinstance(step, artefacts.RenderPart)] == [2, 2, 1]
    for part in kept.needs:
        part.make(place, lambda *_: None)
    exact, found = rendered(range(TEST_SEED, TEST_SEED + 5), 16, PLAIN), kept.load(place, ("segmentation", "depth"))
    assert np.array_equal(found.images, exact.images)
    assert np.array_equal(found.labels.masks, exact.labels.masks)  # type: ignore[arg-type]
    assert np.array_equal(found.labels.depth, exact.labels.depth)  # type: ignore[arg-type]
    assert found.labels.keypoints is None and found.labels.attributes is None


@pytest.mark.parametrize(
    "words",
    [
        "",
        " --quick",
        " --bears dressed --draws 1",
        " --quick --ablation flip --ablation-draws 1 --steps 40",
        " --draws 2 --counts 5 16 --kinds depth --seeds-shares 0.25 0.5 --full 100 --annotator-steps 7",
    ],
)
def test_a_page_tells_the_command_that_gives_its_figures(words: str) -> None:
    parser = parser_of(None)
    told = command_of(parser.parse_args([*words.split(), "--out", "elsewhere", "--workers", "1"]))
    assert told == f"python -m benchmarks.quality{words}"
    assert plan_of(parser.parse_args(told.split()[3:])) == plan_of(parser.parse_args(words.split()))


def test_the_full_plan_is_what_was_asked_for() -> None:
    trials = FULL.trials(WORLD)
    segmentation = [trial for trial in trials if trial.kind == "segmentation"]
    for source in SOURCES:
        counts = {trial.seeds for trial in segmentation if trial.source == source}
        assert counts == ({0} if source in SEEDLESS else {5, 16, 50})
    others = [trial for trial in trials if trial.kind != "segmentation"]
    assert {trial.seeds for trial in others} == {0, 50} and {trial.draw for trial in others} == {0, 1, 2}
    assert {trial.source for trial in others} == {"seeds", "handsoff", "handsoff_plus_seeds", "full"}
    assert len({digest(trial) for trial in trials}) == len(trials)
    assert {trial.budget for trial in trials} == {FULL.budget} and {trial.test.count for trial in trials} == {1_000}
    starts = {
        trial.images.start for trial in segmentation if trial.source == "seeds" and isinstance(trial.images, Renders)
    }
    assert starts == {1, 1_001, 2_001}
    assert len(QUICK.trials(WORLD)) < len(trials) / 2


def test_a_changed_setting_changes_the_trials_that_depend_on_it() -> None:
    def changed(plan: Plan) -> set[str]:
        pairs = zip(TINY.trials(WORLD), plan.trials(WORLD), strict=True)
        return {before.source for before, after in pairs if digest(before) != digest(after)}

    every = set(SOURCES)
    assert changed(replace(TINY, budget=Budget(steps=9, batch=2))) == every
    generated = {"handsoff", "handsoff_plus_seeds", "datasetgan", "annotated", "annotated_plus_seeds"}
    assert changed(replace(TINY, sampling=Sampling(count=7))) == generated
    assert changed(replace(TINY, seeds_shares=(0.25, 0.25))) == {"handsoff_plus_seeds", "annotated_plus_seeds"}
    assert changed(replace(TINY, annotated=5)) == {"datasetgan", "annotated", "annotated_plus_seeds"}
    assert changed(replace(TINY, upsampling="nearest")) == {"handsoff", "handsoff_plus_seeds"}
    assert changed(replace(TINY, full=5)) == {"full"}


def test_what_is_learnt_from_renders_is_kept_when_the_generator_changes() -> None:
    pairs = zip(TINY.trials(WORLD), TINY.trials(replace(WORLD, generator="another")), strict=True)
    assert {before.source for before, after in pairs if before == after} == {"seeds", "full"}
    assert TINY.annotator(WORLD) == TINY.annotator(replace(WORLD, generator="another"))


def test_means_and_spreads_are_over_the_draws_that_are_done(tmp_path: Path) -> None:
    plan = replace(TINY, draws=3, counts=(5, 16, 50))
    classes = dict.fromkeys(PARTS, 0.5)
    said = {draw: {"mean_iou": 0.8 + draw / 10, "class_iou": classes} for draw in range(3)}
    record = noted(
        tmp_path / "results.jsonl",
        plan,
        {("segmentation", "handsoff", 16, draw): said[draw] for draw in range(3)}
        | {("segmentation", "seeds", 16, 1): said[0], ("segmentation", "full", 0, 0): said[2]},
    )
    result = summary(plan, WORLD, record)
    assert result["segmentation"]["handsoff"] == {"5": None, "16": 0.9, "50": None}
    assert result["spread"]["handsoff"]["16"] == 0.1 and result["spread"]["seeds"]["16"] == 0.0
    assert result["bars"]["gain_over_seeds_16"] == {"target": 0.02, "reached": 0.1, "met": True}
    assert result["bars"]["share_of_full_16"] == {"target": 0.93, "reached": 0.9, "met": False}
    assert result["bars"]["gain_over_seeds_50"] == {"target": 0.005, "reached": None, "met": False}


def test_times_are_those_of_the_fit_that_had_the_machine_for_itself(tmp_path: Path) -> None:
    plan, record = replace(TINY, draws=3, counts=(5, 50)), Record(tmp_path / "results.jsonl")
    for draw in range(3):
        times = {"invert_s": 100.0 + draw, "fit_s": 30.0 + draw, "threads": 2 - min(1, draw)}
        record.add(plan.seed_fit(WORLD, 50, draw), times | {"psnr_db": 27.0 + draw, "perceptual": "random"})
    result = summary(plan, WORLD, record)
    assert (result["inversion_s_per_image"], result["fit_s"], result["timing"]["threads"]) == (2.0, 30.0, 2)
    assert result["inversion_psnr_db"] == 28.0


def test_bars_take_the_better_of_our_sources() -> None:
    rows = {"5": 0.7, "16": 0.8, "50": 0.9}
    means = {
        "seeds": rows,
        "handsoff": {"5": 0.75, "16": 0.79, "50": 0.89},
        "handsoff_plus_seeds": {"5": 0.6, "16": 0.83, "50": 0.904},
        "datasetgan": {"5": 0.76, "16": 0.83, "50": 0.8},
        "full": 0.92,
    }
    figures = {"keypoints_pck": 0.9, "class_accuracy": 0.96, "depth_abs_rel": 0.05, "fit_s": 61.0}
    met = {name: bar["met"] for name, bar in bars({"segmentation": means} | figures).items()}
    assert met == {
        "gain_over_seeds_5": True,
        "gain_over_seeds_16": True,
        "gain_over_seeds_50": False,
        "gain_over_datasetgan_5": False,
        "gain_over_datasetgan_16": False,
        "gain_over_datasetgan_50": True,
        "share_of_full_16": False,
        "share_of_full_50": True,
        "keypoints_pck": True,
        "class_accuracy": False,
        "depth_abs_rel": True,
        "fit_s": False,
    }


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_varies_one_thing_around_the_plan(name: str) -> None:
    each = variants(name, FULL)
    assert [variant.label for variant in each if variant.usual] == [
        variant.label
        for variant in each
        if variant.trials(WORLD, 2) == [FULL.trial(WORLD, "segmentation", variant.source, 16, d) for d in range(2)]
    ]
    assert sum(variant.usual for variant in each) == 1
    trials = [variant.trials(WORLD, 2) for variant in each]
    assert len({digest(trial) for row in trials for trial in row}) == 2 * len(each)
    assert {trial.draw for row in trials for trial in row} == {0, 1}


def test_an_ablation_compares_equal_draws(tmp_path: Path) -> None:
    record = Record(tmp_path / "results.jsonl")
    values = {"0 %": (0.5, 0.7), "10 %": (0.6, 0.75), "30 %": (0.5, None)}
    for variant in variants("discard", TINY):
        for trial, value in zip(variant.trials(WORLD, 2), values[variant.label], strict=True):
            if value is not None:
                record.add(trial, {"mean_iou": value})
    result = ablation_summary("discard", TINY, WORLD, record, 2)
    assert result["usual"] == "10 %"
    assert result["values"]["0 %"] == {
        "mean": 0.6,
        "spread": 0.1414,
        "gain": -0.075,
        "gain_spread": 0.0354,
        "psnr_db": None,
    }
    assert result["values"]["30 %"]["gain"] == -0.1
    assert tables.ablation_table(result).splitlines()[2:4] == [
        "| 0 % | 0.600 ± 0.141 | -0.075 ± 0.035 | – |",
        "| **10 %** | 0.675 ± 0.106 |  | – |",
    ]


def test_a_page_keeps_what_people_wrote() -> None:
    page = "# Title\n<!-- measured: machine -->\nold\nrows\n<!-- end -->\nwords\n"
    page += "<!-- measured: bars -->\nkept\n<!-- end -->\n"
    filled = document.fill(page, {"machine": "new \\1"})
    assert filled == page.replace("old\nrows", "new \\1")
    assert document.fill(filled, {"machine": "new \\1"}) == filled
    with pytest.raises(ValueError, match="classes"):
        document.fill(page, {"classes": "a table"})
    filled = document.fill(document.skeleton(), {f"ablation-{name}": "x" for name in ABLATIONS})
    assert filled.count("\nx\n") == len(ABLATIONS)


def test_a_trial_is_told_in_words() -> None:
    trial = FULL.trial(WORLD, "depth", "handsoff_plus_seeds", 50, 2)
    assert isinstance(trial, Trial) and trial.title == "depth, handsoff_plus_seeds 50 seeds, draw 2"
    assert trial.extra is not None and (trial.extra.start, trial.extra.count) == (2_001, 50)
    assert trial.seeds_shares == (0.25, 1.0)
