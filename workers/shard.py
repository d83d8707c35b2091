"""The job body that makes one shard: samples are generated, encoded and stored as one tar, all at the same time."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from models.bundle import load_bundle
from models.device import choose_device
from models.labeler import Labeler
from models.sampling import ATTEMPTS, Sample, labeled_samples
from service.records import labeler_key, shard_key
from workers.balance import wish_of_index
from workers.cores import usable_cores
from workers.draws import Draws
from workers.lanes import Watch, in_lanes
from workers.local_generators import fetch_generator
from workers.ordered_map import ordered_map
from workers.packing import Packer
from workers.plan import Plan, read_plan
from workers.public_errors import JobFailure
from workers.stages import StageClock
from workers.tars import PackedSample, ShardWriter
from workers.throttle import Throttle
from workers.upload_pipe import UploadPipe
from workers.workbench import PROGRESS_INTERVAL_S, Workbench, run_body

_CHUNK = 8
"""Samples handed to an encoding thread at once."""

_CHUNKS_AHEAD = 32

_MOST_ENCODERS = {"cpu": 4, "cuda": 16}
"""Encoding threads, by where images are made: a GPU makes more of them, and leaves the processor to the encoding."""


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
    threads = min(_MOST_ENCODERS[device.type], usable_cores())
    clock = StageClock({"generate": 1, "encode": threads, "upload": 1})
    tell, draws, done = Throttle(PROGRESS_INTERVAL_S), Draws(), 0

    def look() -> None:
        if tell.due():
            bench.stop_if_cancelled()
            bench.ledger.tell(bench.job_id, clock.details())
            bench.ledger.tell_draws(bench.job_id, shard, *draws.counts())

    pack = partial(_packed, Packer(bench.job.generate, bench.project), clock)
    samples = _timed(_samples(bench, plan, indices, device, draws, look), clock)
    with UploadPipe(bench.store, shard_key(bench.job_id, shard), clock) as pipe, ShardWriter(pipe) as tar:
        for chunk in ordered_map(pack, _chunks(samples), threads, _CHUNKS_AHEAD):
            for versions in chunk:
                for version in versions:
                    tar.add(version)
                done += 1
            look()
            advance(done)
    bench.ledger.tell_draws(bench.job_id, shard, *draws.counts())


def _samples(
    bench: Workbench, plan: Plan, indices: range, device: torch.device, draws: Draws, look: Watch
) -> Iterator[Sample]:
    bundle = load_bundle(fetch_generator(bench.store, bench.generator, bench.generator_cache), device)
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "labeler.safetensors"
        weights.write_bytes(bench.store.read(labeler_key(plan.fit_key, weights.name)))
        labeler = Labeler.load(weights, device)
    request = bench.job.generate
    wish = wish_of_index(request, bench.project)

    def make(part: range, watch: Watch) -> Iterator[Sample]:
        return labeled_samples(
            bundle,
            labeler,
            request.seed,
            part,
            request.truncation,
            request.discard_fraction,
            ignore_fraction=request.ignore_fraction,
            condition=request.condition,
            wish=wish,
            max_attempts=request.balance.max_attempts if request.balance else ATTEMPTS,
            watch=watch,
            report=draws.add,
        )

    return in_lanes(make, indices, bundle, look)


def _timed(samples: Iterator[Sample], clock: StageClock) -> Iterator[Sample]:
    while True:
        with clock.busy("generate"):
            sample = next(samples, None)
        if sample is None:
            return
        yield sample


def _chunks(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    rest = iter(samples)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _packed(packer: Packer, clock: StageClock, samples: list[Sample]) -> list[list[PackedSample]]:
    with clock.busy("encode"):
        return [packer(sample) for sample in samples]
