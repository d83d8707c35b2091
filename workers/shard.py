"""The job body that makes one shard: samples are made and stored as one tar at the same time."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import torch

from models.device import choose_device
from service.records import shard_key
from workers.cores import usable_cores
from workers.draws import Draws
from workers.lanes import Lanes, lane_count, runs_in_lanes
from workers.plan import Plan, read_plan
from workers.public_errors import JobFailure
from workers.sample_source import SampleSource, Versions
from workers.stages import StageClock
from workers.tars import ShardWriter
from workers.throttle import Throttle
from workers.upload_pipe import UploadPipe
from workers.workbench import PROGRESS_INTERVAL_S, Workbench, run_body

_MOST_ENCODERS = {"cpu": 4, "cuda": 16}
"""Encoding threads outside lanes, by where images are made: a GPU makes more of them, and leaves the processor to the
encoding."""


def run(job_id: str, shard: int) -> None:
    """Make one shard of a job unless the store has it, and have the job packaged when it was the last one missing."""
    run_body(job_id, partial(make_shard, shard=shard))


def make_shard(bench: Workbench, shard: int) -> None:
    """What `run` does, at a given workbench. Raises `Cancelled`, and whatever goes wrong."""
    plan = read_plan(bench.store, bench.job_id)
    if plan is None:
        raise JobFailure("plan-missing", "The job's plan is gone from the store. Send the request again.", retry=True)
    if not bench.store.exists(shard_key(bench.job_id, shard)):
        _write_shard(bench, plan, shard)
    if bench.ledger.shard_finished(bench.job_id, shard):
        bench.queue.enqueue_package(bench.job_id)


def _write_shard(bench: Workbench, plan: Plan, shard: int) -> None:
    indices = plan.indices(shard)
    advance = bench.progress(partial(bench.ledger.advance_shard, bench.job_id, shard), len(indices))
    device = choose_device(bench.settings.device)
    in_lanes = runs_in_lanes(device, bench.generator.resolution)
    if in_lanes:
        torch.set_num_threads(1)  # others would be there when the lanes are forked
    source = SampleSource.load(bench, plan, device)
    makers = lane_count() if in_lanes else 1
    encoders = makers if in_lanes else min(_MOST_ENCODERS[device.type], usable_cores())
    clock = StageClock({"generate": makers, "encode": encoders, "upload": 1})
    tell, draws, done = Throttle(PROGRESS_INTERVAL_S), Draws(), 0

    def look() -> None:
        if tell.due():
            bench.stop_if_cancelled()
            bench.ledger.tell(bench.job_id, clock.details())
            bench.ledger.tell_draws(bench.job_id, shard, draws.judged, draws.settled)

    with ExitStack() as stack:
        samples: Iterator[Versions]
        if in_lanes:
            lanes = stack.enter_context(Lanes(source.packed, makers))
            samples = source.in_lanes(lanes, indices, clock, draws, look)
        else:
            samples = source.here(indices, encoders, clock, draws, look)
        pipe = stack.enter_context(UploadPipe(bench.store, shard_key(bench.job_id, shard), clock))
        tar = stack.enter_context(ShardWriter(pipe))
        for versions in samples:
            tar.add(versions)
            done += 1
            look()
            advance(done)
    bench.ledger.tell_draws(bench.job_id, shard, draws.judged, draws.settled)
