"""The first part of a job that generates, and the only one of a job that fits: the project's labeler."""

from typing import Any

from service.projects import ProjectFit
from service.records import Phase, shard_key
from service.requests import FitRequest
from workers.fit_notes import fit_notes
from workers.labelers import ensure_labeler, fit_settings, has_labeler, read_report
from workers.plan import Plan, read_plan, shard_size, size_in_time, work_of, write_plan
from workers.workbench import Cancelled, Workbench, run_body


def run(job_id: str) -> None:
    """Start or resume a job: fit, unless that was done before. Then a job that fits has succeeded; for one that
    generates, plan, and enqueue every shard that the store does not have yet."""
    run_body(job_id, start_job)


def start_job(bench: Workbench) -> None:
    """What `run` does, at a given workbench. Raises `Cancelled`, and whatever goes wrong."""
    if not bench.ledger.start(bench.job_id):
        raise Cancelled
    if isinstance(bench.job.request, FitRequest):
        _tell(bench, _fitted(bench))
        bench.ledger.succeed(bench.job_id, {})
        return
    plan = _planned(bench)
    _tell(bench, plan.fit_key)
    bench.ledger.plan(bench.job_id, plan.fit_key, plan.shards, plan.shard_size)
    _hand_out(bench, plan)


def _fitted(bench: Workbench) -> str:
    """The fit key of the labeler that suits the project as it is now; it becomes the one that the project reports."""
    key = ensure_labeler(bench, fit_settings(bench.settings))
    bench.store.put(ProjectFit.key(bench.project.id), ProjectFit(fit_key=key).model_dump_json().encode())
    return key


def _tell(bench: Workbench, fit_key: str) -> None:
    """Let the job know its labeler, and the user what the fit found."""
    bench.ledger.fitted(bench.job_id, fit_key)
    for note in fit_notes(read_report(bench.store, fit_key), bench.project):
        bench.ledger.note(bench.job_id, note)
    bench.stop_if_cancelled()


def _planned(bench: Workbench) -> Plan:
    plan = read_plan(bench.store, bench.job_id)
    if plan is not None and has_labeler(bench.store, plan.fit_key):
        return plan  # of a job taken up again, maybe long after the project was fitted anew
    key = _fitted(bench)
    request, settings = bench.job.generate, bench.settings
    samples_s = _samples_s(read_report(bench.store, key))
    size = shard_size(request.count, settings.shard_size, samples_s, bench.queue.workers())
    size = size_in_time(size, request.count, samples_s, work_of(request), settings.shard_timeout_s)
    plan = Plan(fit_key=key, count=request.count, shard_size=size)
    write_plan(bench.store, bench.job_id, plan)
    return plan


def _samples_s(report: dict[str, Any]) -> float:
    """How many samples a second were made when the labeler's uncertainty was measured."""
    pilots: int = sum(count for _, count in report["settings"]["pilots"])
    return pilots / max(1e-3, float(report["seconds"]["pilot"]))


def _hand_out(bench: Workbench, plan: Plan) -> None:
    bench.ledger.enter_phase(bench.job_id, Phase.GENERATE, plan.count)
    complete = False
    for shard in range(plan.shards):
        if bench.store.exists(shard_key(bench.job_id, shard)):
            bench.ledger.advance_shard(bench.job_id, shard, len(plan.indices(shard)))
            complete = bench.ledger.shard_finished(bench.job_id, shard)
        else:
            bench.queue.enqueue_shard(bench.job_id, shard)
    bench.ledger.count_from_here(bench.job_id)
    if complete:
        bench.queue.enqueue_package(bench.job_id)
