"""The last job body: makes the dataset that the user downloads out of the job's shards."""

import io
import json
from collections.abc import Callable, Iterator
from itertools import chain, islice

from service.records import Phase, dataset_key, shard_key
from workers.byte_stream import byte_stream
from workers.card import DatasetCard
from workers.dataset import Tally, read_samples
from workers.fit_notes import fit_notes
from workers.labelers import read_report
from workers.plan import Plan, read_plan
from workers.png import read_image, read_mask
from workers.png_format import Enclosures, png_zip
from workers.preview import SAMPLES, preview_png
from workers.public_errors import JobFailure
from workers.tars import PackedSample
from workers.workbench import Workbench, run_body


def run(job_id: str) -> None:
    """Make zip, card, preview and manifest of a job whose shards are all there, and end the job."""
    run_body(job_id, make_dataset)


def make_dataset(bench: Workbench) -> None:
    """What `run` does, at a given workbench. Raises `Cancelled`, and whatever goes wrong."""
    plan = read_plan(bench.store, bench.job_id)
    if plan is None:
        raise JobFailure("plan-missing", "The job's plan is gone from the store. Send the request again.", retry=True)
    outputs = {"png": dataset_key(bench.job_id, "png.zip")}
    manifest = dataset_key(bench.job_id, "manifest.json")
    if not bench.store.exists(manifest):
        _write_dataset(bench, plan, outputs)
        # Written last: where there is a manifest, everything it names is there and complete.
        bench.store.put(manifest, json.dumps(_manifest(bench, plan, outputs), indent=2).encode())
    bench.ledger.succeed(bench.job_id, outputs)


def _write_dataset(bench: Workbench, plan: Plan, outputs: dict[str, str]) -> None:
    project, classes = bench.project, bench.project.classes
    notes = fit_notes(read_report(bench.store, plan.fit_key), [seed.name for seed in project.seeds])
    card = DatasetCard(bench.job, project, bench.generator, plan.fit_key, notes, Tally.of(classes))

    samples = read_samples(bench.store, bench.job_id, plan)
    first = list(islice(samples, SAMPLES))
    pictures = [(read_image(sample.image), read_mask(sample.mask)) for sample in first]
    preview = preview_png(pictures, classes, f"{project.name}: {plan.count} samples")

    counted = _counted(chain(first, samples), card.tally, bench.phase(Phase.PACKAGE, plan.count))
    shard_bytes = sum(bench.store.size(shard_key(bench.job_id, shard)) for shard in range(plan.shards))
    enclosures = Enclosures(card.facts, card.markdown, lambda: preview)
    bench.store.put(outputs["png"], byte_stream(png_zip(counted, classes, enclosures, plan.count, shard_bytes)))
    bench.store.put(dataset_key(bench.job_id, "card.md"), io.BytesIO(card.markdown().encode()))
    bench.store.put(dataset_key(bench.job_id, "preview.png"), preview)


def _counted(samples: Iterator[PackedSample], tally: Tally, advance: Callable[[int], None]) -> Iterator[PackedSample]:
    for sample in samples:
        tally.add(sample.facts)
        yield sample
        advance(tally.samples)


def _manifest(bench: Workbench, plan: Plan, outputs: dict[str, str]) -> dict[str, object]:
    def entry(key: str) -> dict[str, object]:
        return {"key": key, "bytes": bench.store.size(key)}

    shards = [
        {**entry(shard_key(bench.job_id, shard)), "first": indices.start, "count": len(indices)}
        for shard, indices in enumerate(plan.all_indices())
    ]
    return {
        "job": bench.job_id,
        "project": bench.project.id,
        "labeler": plan.fit_key,
        "count": plan.count,
        "shards": shards,
        "formats": {name: entry(key) for name, key in outputs.items()},
        "card": entry(dataset_key(bench.job_id, "card.md")),
        "preview": entry(dataset_key(bench.job_id, "preview.png")),
    }
