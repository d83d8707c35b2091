"""The job body that makes one shard: a run of labeled samples, written to the store as one tar."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import numpy as np

from models.bundle import load_bundle
from models.device import choose_device
from models.labeler import Labeler
from models.sampling import Sample, labeled_samples
from service.records import labeler_key, shard_key
from workers.local_generators import fetch_generator
from workers.plan import Plan, read_plan
from workers.png import image_png, mask_png, palette
from workers.public_errors import JobFailure
from workers.tars import PackedSample, SampleFacts, ShardWriter
from workers.workbench import Workbench, run_body


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
    colors, classes = palette(bench.project.classes), len(bench.project.classes)
    with TemporaryFile() as spool:
        with ShardWriter(spool) as tar:
            for done, sample in enumerate(_samples(bench, plan, indices), start=1):
                tar.add(_packed(sample, colors, classes))
                advance(done)
        spool.seek(0)
        bench.store.put(shard_key(bench.job_id, shard), spool)


def _samples(bench: Workbench, plan: Plan, indices: range) -> Iterator[Sample]:
    device = choose_device(bench.settings.device)
    bundle = load_bundle(fetch_generator(bench.store, bench.generator, bench.generator_cache), device)
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "labeler.safetensors"
        weights.write_bytes(bench.store.read(labeler_key(plan.fit_key, weights.name)))
        labeler = Labeler.load(weights, device)
    request = bench.job.generate
    return labeled_samples(bundle, labeler, request.seed, indices, request.truncation, request.discard_fraction)


def _packed(sample: Sample, colors: bytes, classes: int) -> PackedSample:
    pixels = np.bincount(sample.mask.ravel(), minlength=classes).tolist()
    uncertainty = float(sample.uncertainty)
    facts = SampleFacts(sample.index, sample.index, 0, uncertainty, {"segmentation": uncertainty}, pixels)
    return PackedSample(facts, image_png(sample.image), mask=mask_png(sample.mask, colors))
