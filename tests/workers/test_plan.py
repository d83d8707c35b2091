"""Shards cover a job's samples once each, in sizes that make sense, and stay as they were planned."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.projects import ProjectFit
from service.records import dataset_key
from service.requests import GenerateRequest
from service.stores import FileStore
from tests.workers.conftest import NewJob
from tests.workers.world import PROJECT
from workers.fit import start_job
from workers.plan import Plan, read_plan, shard_size, size_in_time, work_of, write_plan


@given(
    count=st.integers(1, 200_000),
    wished=st.none() | st.integers(10, 50_000),
    samples_s=st.floats(0.01, 1e4),
    workers=st.integers(0, 64),
)
def test_every_index_is_in_one_shard(count: int, wished: int | None, samples_s: float, workers: int) -> None:
    plan = Plan(fit_key="k", count=count, shard_size=shard_size(count, wished, samples_s, workers))
    starts = range(0, count, plan.shard_size)
    assert plan.shards == len(starts)
    for shard in {0, plan.shards // 2, plan.shards - 1}:
        assert plan.indices(shard) == range(starts[shard], min(starts[shard] + plan.shard_size, count))


@pytest.mark.parametrize(
    ("count", "samples_s", "workers", "shards"),
    [
        (1, 30.0, 1, 1),
        (200, 30.0, 1, 1),
        (1_000, 30.0, 1, 1),
        (3_000, 30.0, 1, 2),  # a minute of work each, or nearly
        (200, 30.0, 8, 2),  # more workers, more shards, but none shorter than five seconds
        (1_000, 30.0, 8, 7),
        (10_000, 30.0, 4, 16),  # four for each worker
        (100_000, 30.0, 1, 28),  # two minutes each
        (1_000_000, 300.0, 8, 32),
        (1_000_000, 300.0, 1, 28),
        (1_000, 0.05, 1, 40),  # a slow generator: the smallest shard there is
    ],
)
def test_shards_are_cut_by_time(count: int, samples_s: float, workers: int, shards: int) -> None:
    size = shard_size(count, None, samples_s, workers)
    assert Plan(fit_key="k", count=count, shard_size=size).shards == shards


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("samples_s", [20.0, 110.0, 300.0, 330.0])
@pytest.mark.parametrize("count", [8_000, 20_000, 123_457])
def test_workers_of_one_speed_end_together(count: int, samples_s: float, workers: int) -> None:
    """However long a shard should take, no worker waits for another for more than a small part of the whole."""
    plan = Plan(fit_key="k", count=count, shard_size=shard_size(count, None, samples_s, workers))
    busy = [0] * workers
    for indices in plan.all_indices():
        busy[busy.index(min(busy))] += len(indices)
    assert max(busy) <= 1.01 * count / workers


BALANCE = {"class": {"panda": 200}, "coverage": {"snout": {"samples": 50, "min_share": 0.1}}, "max_attempts": 64}


@pytest.mark.parametrize(
    ("changes", "work"),
    [
        ({"discard_fraction": 0.0}, 1.0),
        ({"discard_fraction": 0.5}, 2.0),
        ({"discard_fraction": 0.5, "balance": BALANCE}, 0.25 * 64 + 0.75 * 2),
        ({"discard_fraction": 0.0, "augment": [{"name": "HorizontalFlip"}], "multiply": 100}, 100.0),
    ],
)
def test_work_grows_with_what_is_asked_for(changes: dict[str, Any], work: float) -> None:
    request = GenerateRequest.model_validate({"project_id": "bears", "count": 1000} | changes)
    assert work_of(request) == pytest.approx(work)


@pytest.mark.parametrize(
    ("samples_s", "work", "size"),
    [(30.0, 1.0, 3_600), (30.0, 64.0, 843), (30.0, 10_000.0, 5), (0.5, 10_000.0, 1)],
)
def test_a_shard_takes_no_more_than_half_of_its_time(samples_s: float, work: float, size: int) -> None:
    assert size_in_time(3_600, 20_000, samples_s, work, 3_600) == size


@pytest.mark.parametrize("wished", [1, 3_600])
def test_whatever_is_asked_for_the_parts_of_a_job_are_not_without_number(wished: int) -> None:
    size = size_in_time(wished, 1_000_000, 30.0, 10_000.0, 3_600)
    assert Plan(fit_key="k", count=1_000_000, shard_size=size).shards == 20_000


def test_a_job_is_cut_by_what_it_asks_for(
    new_job: NewJob, fitted_world: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.fit.ensure_labeler", lambda *_: fitted_world[1])
    monkeypatch.setattr("workers.fit._samples_s", lambda _: 10.0)
    sizes = []
    for max_attempts in (1, 1_000):
        balance = {"coverage": {"dark": {"samples": 90, "min_share": 0.1}}, "max_attempts": max_attempts}
        bench = new_job(f"job-{max_attempts}", 90, 90, balance=balance)
        bench.store.delete(dataset_key(bench.job_id, "plan.json"))
        start_job(bench)
        plan = read_plan(bench.store, bench.job_id)
        assert plan is not None
        sizes.append(plan.shard_size)
    timeout_s = bench.settings.shard_timeout_s
    assert sizes == [90, 10 * timeout_s // 2 // 1_000]


def test_no_job_floods_the_queue(
    new_job: NewJob, fitted_world: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.fit.ensure_labeler", lambda *_: fitted_world[1])
    monkeypatch.setattr("workers.fit._samples_s", lambda _: 10.0)
    monkeypatch.setattr("workers.plan._MOST_SHARDS", 30)
    balance = {"coverage": {"dark": {"samples": 90, "min_share": 0.1}}, "max_attempts": 10_000}
    bench = new_job("job", 90, 90, balance=balance)
    bench.store.delete(dataset_key("job", "plan.json"))
    start_job(bench)
    assert bench.queue.waiting().parts == 30


def test_a_job_that_is_taken_up_again_leaves_the_projects_report_as_it_is(
    new_job: NewJob, fitted_world: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.fit.ensure_labeler", lambda *_: fitted_world[1])
    bench = new_job("job", 90, 90)
    newer = ProjectFit(fit_key="newer").model_dump_json().encode()
    bench.store.put(ProjectFit.key(PROJECT), newer)
    start_job(bench)
    assert bench.store.read(ProjectFit.key(PROJECT)) == newer
    assert bench.ledger.get("job").fit_key == fitted_world[1]
    bench.store.delete(dataset_key("job", "plan.json"))
    start_job(bench)
    assert ProjectFit.model_validate_json(bench.store.read(ProjectFit.key(PROJECT))).fit_key == fitted_world[1]


def test_a_plan_is_kept(store: FileStore) -> None:
    assert read_plan(store, "job") is None
    plan = Plan(fit_key="abc", count=200, shard_size=50)
    write_plan(store, "job", plan)
    assert read_plan(store, "job") == plan
