"""The job body that makes zips of a job's shards: the last part of a job that generates, or a job of its own."""

import io
import json
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count, islice
from typing import Any

from service.dataset_formats import advice_if_packed_otherwise, packed_otherwise, zip_key
from service.job_reader import JobMissing
from service.records import JobRecord, Phase, dataset_key, shard_key
from service.requests import DatasetFormat, PackageRequest, Packaging
from workers.byte_stream import byte_stream
from workers.card import DatasetCard
from workers.dataset import read_samples
from workers.dataset_zip import dataset_zip
from workers.fit_notes import fit_notes
from workers.formats import FORMATS, Description, Enclosures, Format
from workers.labelers import read_report
from workers.plan import Plan, read_plan
from workers.preview import SAMPLES, preview_png
from workers.public_errors import JobFailure
from workers.seed_samples import seed_samples
from workers.tally import Tally
from workers.tars import PackedSample
from workers.workbench import Cancelled, Workbench, run_body


def run(job_id: str) -> None:
    """Pack the dataset that the job made or is about, in the formats it asks for, and end the job."""
    run_body(job_id, make_dataset)


def make_dataset(bench: Workbench) -> None:
    """What `run` does, at a given workbench. Raises `Cancelled`, and whatever goes wrong."""
    if not bench.ledger.start(bench.job_id):
        raise Cancelled
    packing = _Packing.of(bench)
    missing = packing.missing()
    images = packing.count + packing.seeds
    advance = bench.phase(Phase.PACKAGE, len(missing) * images)
    tally = Tally(bench.project, packing.wanted.split)
    for number, layout in enumerate(missing):
        packing.write(FORMATS[layout], tally, partial(_advance_from, advance, number * images))
    if missing and not packing.is_again:
        packing.write_card(tally)
    if packing.is_again:
        bench.stop_if_cancelled()
        packing.add_to_source()
    packing.write_manifest()
    bench.ledger.succeed(bench.job_id, packing.outputs)


def _advance_from(advance: Callable[[int], None], start: int, done: int) -> None:
    advance(start + done)


@dataclass(frozen=True)
class _Packing:
    """The dataset of one job, and the formats to pack it in."""

    bench: Workbench
    source: JobRecord
    """The job that made the samples."""
    plan: Plan

    @classmethod
    def of(cls, bench: Workbench) -> "_Packing":
        """What the job of this workbench has to pack. Raises `JobFailure` if it cannot be."""
        request = bench.job.request
        try:
            source = bench.ledger.get(request.job_id) if isinstance(request, PackageRequest) else bench.job
        except JobMissing:
            raise JobFailure("dataset-gone", "The job that made the dataset is gone from the store.") from None
        plan = read_plan(bench.store, source.id)
        if plan is None:
            detail = "The job's plan is gone from the store. Send the request to generate again."
            raise JobFailure("plan-missing", detail, retry=True)
        return cls(bench, source, plan)

    @property
    def is_again(self) -> bool:
        """Whether the dataset was packed before, by the job that made it."""
        return self.source.id != self.bench.job_id

    @property
    def wanted(self) -> Packaging:
        """Formats and split."""
        request = self.bench.job.request
        assert isinstance(request, Packaging)  # noqa: S101  # only such jobs are packed
        return request

    @property
    def count(self) -> int:
        """Generated images in the dataset."""
        return self.source.generate.delivered

    @property
    def seeds(self) -> int:
        """Seeds that go with them."""
        return len(self.bench.project.seeds) if self.source.generate.include_seeds else 0

    @cached_property
    def outputs(self) -> dict[str, str]:
        """Format → key of its zip."""
        return {layout: zip_key(self.source, layout, self.wanted.split) for layout in self.wanted.formats}

    def missing(self) -> list[DatasetFormat]:
        """The formats to write. A zip that is there is whole, and the same as one that would be made now."""
        self._check_source(self.source)
        card = self._key("card.md")
        if not self.is_again and not self.bench.store.exists(card):
            return self.wanted.formats  # what the card tells is counted while a zip is written
        return [layout for layout in self.wanted.formats if not self.bench.store.exists(self.outputs[layout])]

    def write(self, layout: Format[Any], tally: Tally, advance: Callable[[int], None]) -> None:
        """Write the zip of one format. A tally that is empty is filled on the way."""
        card = self._card(tally)
        enclosures = Enclosures(card.facts, lambda entry: card.markdown([entry]), lambda: self.preview)
        project, side = self.bench.project, self.bench.generator.resolution
        description = Description(project.name, project, side, self.wanted.split, self.seeds > 0)
        add = partial(tally.add, side=side) if tally.samples == 0 else None
        passed = _counted(add, advance)
        with (
            closing(self._samples_and_seeds()) as samples,
            closing(dataset_zip(layout, samples, self.count + self.seeds, description, enclosures, passed)) as chunks,
        ):
            self.bench.store.put(self.outputs[layout.name], byte_stream(chunks))

    def add_to_source(self) -> None:
        """Let the job that made the dataset offer these formats, too."""
        self._check_source(self.bench.ledger.add_outputs(self.source.id, self.outputs))

    def _check_source(self, source: JobRecord) -> None:
        if taken := packed_otherwise(source, self.wanted.formats, self.wanted.split):
            raise JobFailure("format-exists", advice_if_packed_otherwise(source, taken))

    def write_card(self, tally: Tally) -> None:
        """Store what is told about the dataset beside its zips."""
        self.bench.store.put(self._key("preview.png"), self.preview)
        self.bench.store.put(self._key("card.md"), io.BytesIO(self._card(tally).markdown().encode()))

    def write_manifest(self) -> None:
        """Store the list of all that there is: of the formats, those of this job and of every other one. What somebody
        has deleted from the store is left out."""
        known: dict[str, str] = {}
        while known != (known := self._all_outputs()):
            # Written after the zips it names; and again, if another job has added a format meanwhile.
            manifest = json.dumps(self._manifest(known), indent=2).encode()
            self.bench.store.put(self._key("manifest.json"), manifest)

    @cached_property
    def preview(self) -> bytes:
        """preview.png"""
        with closing(self._samples()) as samples:
            title = f"{self.bench.project.name}: {self.count} sample{'' if self.count == 1 else 's'}"
            return preview_png(list(islice(samples, SAMPLES)), self.bench.project, title)

    def _samples(self) -> Generator[PackedSample]:
        return read_samples(self.bench.store, self.source.id, self.plan, self.source.generate.multiply)

    def _samples_and_seeds(self) -> Generator[PackedSample]:
        yield from self._samples()
        if self.seeds:
            image_format = self.source.generate.image_format
            yield from seed_samples(self.bench.store, self.bench.project, image_format, self.count)

    def _card(self, tally: Tally) -> DatasetCard:
        project, bench = self.bench.project, self.bench
        notes = fit_notes(read_report(bench.store, self.plan.fit_key), project)
        return DatasetCard(self.source, project, bench.generator, self.plan.fit_key, notes, tally)

    def _all_outputs(self) -> dict[str, str]:
        return self.bench.ledger.get(self.source.id).outputs | self.outputs

    def _manifest(self, outputs: dict[str, str]) -> dict[str, object]:
        sizes = {row.key: row.size for row in self.bench.store.list(self._key(""))}

        def entries(keys: dict[str, str]) -> dict[str, dict[str, object]]:
            return {name: {"key": key, "bytes": sizes[key]} for name, key in keys.items() if key in sizes}

        shards = [
            {"key": key, "bytes": sizes[key], "first": indices.start, "count": len(indices)}
            for shard, indices in enumerate(self.plan.all_indices())
            if (key := shard_key(self.source.id, shard)) in sizes
        ]
        return {
            "job": self.source.id,
            "project": self.bench.project.id,
            "labeler": self.plan.fit_key,
            "count": self.count,
            "seeds": self.seeds,
            "shards": shards,
            "formats": entries(dict(sorted(outputs.items()))),
            **entries({"card": self._key("card.md"), "preview": self._key("preview.png")}),
        }

    def _key(self, file: str) -> str:
        return dataset_key(self.source.id, file)


def _counted(
    add: Callable[[PackedSample], None] | None, advance: Callable[[int], None]
) -> Callable[[PackedSample], None]:
    """Something that is told of each sample, adds it, and says how many it was told of."""
    numbers = count(1)

    def passed(sample: PackedSample) -> None:
        if add is not None:
            add(sample)
        advance(next(numbers))

    return passed
