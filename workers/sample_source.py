"""The samples of a job, as a shard holds them: made, labeled, augmented and encoded, all at the same time."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from models.bundle import GeneratorBundle, load_bundle
from models.labeler import Labeler
from models.sampling import ATTEMPTS, Sample, labeled_samples
from service.records import labeler_key
from service.requests import GenerateRequest
from workers.balance import wish_of_index
from workers.draws import Draws
from workers.lanes import Lanes, Tell, part_size
from workers.local_generators import local_generator
from workers.ordered_map import ordered_map
from workers.packing import Packer
from workers.plan import Plan
from workers.stages import StageClock
from workers.tars import blocks_of
from workers.workbench import Workbench

Versions = bytes
"""Those of one sample, in order, as they stand in a shard: what processes hand on is one piece."""

Watch = Callable[[], None]
"""Called now and then by what works; raises when it should stop."""

_CHUNK = 8
"""Samples handed to an encoding thread at once."""

_CHUNKS_AHEAD = 32


@dataclass
class Progress:
    """What a lane did since it told last: seconds of each stage, candidates judged and samples settled."""

    generate_s: float = 0.0
    encode_s: float = 0.0
    judged: int = 0
    settled: int = 0


@dataclass(frozen=True)
class SampleSource:
    """Generator, labeler and request of a job, ready to make any of its samples."""

    bundle: GeneratorBundle
    labeler: Labeler
    request: GenerateRequest
    packer: Packer

    @classmethod
    def load(cls, bench: Workbench, plan: Plan, device: torch.device) -> "SampleSource":
        """What the job of this workbench needs, from the store."""
        with local_generator(bench.store, bench.generator, bench.generator_cache) as folder:
            bundle = load_bundle(folder, device, with_encoder=False)
        with TemporaryDirectory() as scratch:
            weights = Path(scratch) / "labeler.safetensors"
            weights.write_bytes(bench.store.read(labeler_key(plan.fit_key, weights.name)))
            labeler = Labeler.load(weights, device)
        return cls(bundle, labeler, bench.job.generate, Packer(bench.job.generate, bench.project))

    def in_lanes(
        self, lanes: Lanes[Versions], indices: range, clock: StageClock, draws: Draws, watch: Watch
    ) -> Generator[Versions, None, None]:
        """The samples of `indices` in order, made by lanes whose work is `packed`."""

        def told(progress: Progress) -> None:
            clock.add("generate", progress.generate_s)
            clock.add("encode", progress.encode_s)
            draws.add(progress.judged, progress.settled)

        return lanes.results(indices, part_size(self.bundle.resolution), told, watch)

    def packed(self, indices: Iterable[int], tell: Tell) -> Iterator[Versions]:
        """The samples of `indices`, one after another in this thread; tells its `Progress`."""
        told = _Told(tell)
        for sample in self._samples(indices, lambda: None, told.drew):
            told.end("generate_s")
            versions = self._in_tar(sample)
            told.end("encode_s")
            yield versions
            told.began = time.perf_counter()  # what is done with them is not our work
        told.send()

    def here(
        self, indices: range, threads: int, clock: StageClock, draws: Draws, watch: Watch
    ) -> Generator[Versions, None, None]:
        """The samples of `indices` in order: made in this thread, which may have a device or all cores to itself, and
        encoded by other threads meanwhile."""
        samples = self._samples(indices, watch, draws.add)

        def encode(samples: list[Sample]) -> list[Versions]:
            with clock.busy("encode"):
                return [self._in_tar(sample) for sample in samples]

        chunks = ordered_map(encode, _chunks(_timed(samples, clock)), threads, _CHUNKS_AHEAD)
        try:
            for chunk in chunks:
                yield from chunk
        finally:
            chunks.close()

    def _in_tar(self, sample: Sample) -> Versions:
        return b"".join(map(blocks_of, self.packer(sample)))

    def _samples(self, indices: Iterable[int], watch: Watch, report: Callable[[int, int], None]) -> Iterator[Sample]:
        request = self.request
        return labeled_samples(
            self.bundle,
            self.labeler,
            request.seed,
            indices,
            request.truncation,
            request.discard_fraction,
            ignore_fraction=request.ignore_fraction,
            condition=request.condition,
            wish=wish_of_index(request, self.packer.schema),
            max_attempts=request.balance.max_attempts if request.balance else ATTEMPTS,
            watch=watch,
            report=report,
        )


@dataclass
class _Told:
    """Adds up a lane's progress, and tells it after each batch of candidates."""

    tell: Tell
    began: float = field(default_factory=time.perf_counter)
    progress: Progress = field(default_factory=Progress)

    def end(self, stage: str) -> None:
        """The time since the last stage ended was that of `stage`, a field of `Progress`."""
        moment = time.perf_counter()
        setattr(self.progress, stage, getattr(self.progress, stage) + moment - self.began)
        self.began = moment

    def drew(self, judged: int, settled: int) -> None:
        """A batch was drawn."""
        self.end("generate_s")
        self.progress.judged, self.progress.settled = judged, settled
        self.send()

    def send(self) -> None:
        """Tell what there is."""
        self.tell(self.progress)
        self.progress = Progress()


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
