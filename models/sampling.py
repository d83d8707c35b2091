"""Generated images with their labels, one after another, for as long as anyone wants more.

Sample i of a job depends on (job seed, i) alone: its latents come from a counter-based random generator keyed by both,
batches have one fixed size whatever is asked for, and no sample sees another. A candidate whose uncertainty exceeds the
threshold, or that does not show what its index was wished to show, is drawn again, so that exactly the samples asked
for come out.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.candidates import Candidates, CandidateSource
from models.device import fast_precision
from models.labeler import Labeler
from models.labeling import LabelingKernel
from models.labels import ImageLabels

ATTEMPTS = 16
"""Draws for a sample without a wish; if none of them will do, the best is delivered."""

WAITING_BYTES = 64 * 2**20
"""About how much finished samples may take while they wait for an earlier one."""


CPU_BATCH_PIXELS = 2**16
GPU_BATCH_PIXELS = 2**23
LARGEST_BATCH = 64


def batch_size(bundle: GeneratorBundle) -> int:
    """How many candidates to make at once: fixed by resolution and kind of device, never by what is asked for, because
    a convolution may round differently in batches of another size."""
    budget = CPU_BATCH_PIXELS if bundle.device.type == "cpu" else GPU_BATCH_PIXELS
    return max(1, min(LARGEST_BATCH, budget // bundle.resolution**2))


def latent(job_seed: int, index: int, attempt: int, z_dim: int) -> npt.NDArray[np.float32]:
    """The latent of one candidate, (z_dim,) standard normal: a pure function of its arguments."""
    random = np.random.Generator(np.random.Philox(key=[job_seed, index], counter=[0, 0, 0, attempt]))
    return random.standard_normal(z_dim, dtype=np.float32)


def random_codes(bundle: GeneratorBundle, seed: int, rows: range, truncation: float = 1.0) -> Tensor:
    """Codes (N, num_ws, w_dim) of random samples, drawn as the first candidates of these indices of a job; a
    conditional generator's classes are random ones."""
    mapping = bundle.generator.mapping
    z = np.stack([latent(seed, row, 0, bundle.generator.architecture.z_dim) for row in rows])
    classes = mapping.random_classes(len(rows), torch.Generator().manual_seed(seed + rows.start))
    return bundle.generator.broadcast(mapping(torch.from_numpy(z).to(bundle.device), truncation, classes))


@dataclass(frozen=True, slots=True)
class Sample:
    """image: uint8 (H, W, 3). uncertainty, kinds: as in `Labels`. attempts: candidates it took. met: whether it shows
    what was wished for, true without a wish."""

    index: int
    image: npt.NDArray[np.uint8]
    labels: ImageLabels
    uncertainty: float
    kinds: dict[str, float]
    attempts: int
    met: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """What a sample is to show. attribute: the index of an attribute and of its value. coverage: a class of the
    segmentation and the least share of the image's pixels that it takes, ignored pixels not counted as its own."""

    attribute: tuple[int, int] | None = None
    coverage: tuple[int, float] | None = None

    def met(self, labels: ImageLabels) -> bool:
        """Whether an image with these labels shows it; never, if they have no such kind."""
        if self.attribute is not None:
            place, value = self.attribute
            if labels.attributes is None or labels.attributes[place] != value:
                return False
        if self.coverage is not None:
            index, least = self.coverage
            if labels.mask is None or np.count_nonzero(labels.mask == index) < least * labels.mask.size:
                return False
        return True


@dataclass(slots=True)
class _Pending:
    """An index without its sample yet. limit: attempts at most; drawn: attempts handed out; judged: attempts looked
    at."""

    index: int
    wish: Wish | None
    limit: int
    drawn: int = 0
    judged: int = 0
    best: Sample | None = field(default=None)

    def judge(self, candidates: Candidates, row: int, threshold: float) -> Sample | None:
        """Look at the next attempt; the sample, once it is settled."""
        self.judged += 1
        uncertainty = candidates.uncertainty[row]
        labels = candidates.labels(row)
        met = self.wish is None or self.wish.met(labels)
        if self.best is None or (not met, uncertainty) < (not self.best.met, self.best.uncertainty):
            kinds = {kind: values[row] for kind, values in candidates.kinds.items()}
            image = candidates.images[row].copy()
            self.best = Sample(self.index, image, labels.copy(), uncertainty, kinds, self.judged, met)
        if met and uncertainty <= threshold:
            return self.best
        return replace(self.best, attempts=self.limit) if self.judged == self.limit else None


class _Schedule:
    """Which attempts enter the next batch: the next one of every pending index, oldest first; then new indices; then,
    where there is room, further attempts of pending ones ahead of time, which are thrown away if an earlier one will
    do. begun: the indices that were drawn for and not given out, in order."""

    def __init__(
        self, indices: Iterable[int], wish: Callable[[int], Wish | None] | None, attempts: int, max_attempts: int
    ) -> None:
        """attempts, max_attempts: those of an index without a wish, and with one."""
        self.upcoming, self.wish, self.attempts, self.max_attempts = iter(indices), wish, attempts, max_attempts
        self.pending: dict[int, _Pending] = {}
        self.begun: deque[int] = deque()

    def next_batch(self, size: int, new: int) -> list[_Pending]:
        """At most `size` attempts, of which at most `new` are of new indices; none if nothing is left to do."""
        batch: list[_Pending] = []
        for pending in self.pending.values():
            self._draw(pending, batch, size)
        while len(batch) < size and new > 0 and (index := next(self.upcoming, None)) is not None:
            wish = self.wish(index) if self.wish else None
            limit = self.attempts if wish is None else self.max_attempts
            pending = self.pending[index] = _Pending(index, wish, limit)
            self.begun.append(index)
            self._draw(pending, batch, size)
            new -= 1
        drawn = -1
        while self.pending and drawn < len(batch) < size:
            drawn = len(batch)
            for pending in self.pending.values():
                self._draw(pending, batch, size)
        return batch

    def _draw(self, pending: _Pending, batch: list[_Pending], size: int) -> None:
        if len(batch) < size and pending.drawn < pending.limit:
            pending.drawn += 1
            batch.append(pending)


def labeled_samples(
    bundle: GeneratorBundle,
    labeler: Labeler,
    job_seed: int,
    indices: Iterable[int],
    truncation: float = 1.0,
    discard_fraction: float = 0.1,
    *,
    ignore_fraction: float = 0.0,
    condition: int | None = None,
    wish: Callable[[int], Wish | None] | None = None,
    max_attempts: int = ATTEMPTS,
    watch: Callable[[], None] = lambda: None,
    report: Callable[[int, int], None] = lambda _judged, _settled: None,
) -> Iterator[Sample]:
    """The samples of `indices`, in order; memory does not grow with their number.

    Args:
        job_seed: with the index, fixes a sample.
        indices: each once; taken as they are needed.
        truncation: psi in [0, 1]. With 0 all samples are the same image, and none is drawn again.
        discard_fraction: share of random samples that count as too uncertain, in [0, 1).
        ignore_fraction: share of each image's pixels, the most uncertain ones, whose mask is 255.
        condition: the class of a conditional generator; without one, its classes take turns by index.
        wish: index → what that sample is to show, a pure function.
        max_attempts: candidates for a sample with a wish; others have `ATTEMPTS`, as in a job without wishes. If none
            of them will do, the least uncertain of those that show what was wished for is delivered; if none shows it,
            the least uncertain of all, with `met` false.
        watch: called before each batch, and may raise: a wish that is hard to meet takes many batches for one sample.
        report: called after each batch with how many candidates were judged in it, and how many samples settled.

    Raises:
        ValueError: a condition that the generator does not have, or no attempts.
    """
    conditions = bundle.generator.architecture.c_dim
    if condition is not None and not 0 <= condition < conditions:
        raise ValueError(f"condition {condition}: the generator has {conditions or 'no'} classes")
    if max_attempts < 1:
        raise ValueError(f"max_attempts {max_attempts}: a sample takes at least one")
    source = CandidateSource(
        bundle, LabelingKernel(labeler, fast_precision(bundle.device)), truncation, ignore_fraction
    )
    threshold = labeler.discard_threshold(discard_fraction, truncation)
    # Truncation 0 makes the one average image of every latent: a second draw would be the first one again.
    limits = (ATTEMPTS, max_attempts) if truncation > 0 else (1, 1)
    schedule = _Schedule(indices, wish, *limits)
    size, z_dim = batch_size(bundle), bundle.generator.architecture.z_dim
    window = max(size, WAITING_BYTES // _sample_bytes(bundle, labeler))
    finished: dict[int, Sample] = {}
    while True:
        watch()
        batch = schedule.next_batch(size, window - len(finished) - len(schedule.pending))
        if not batch:
            return
        z = np.zeros((size, z_dim), dtype=np.float32)
        classes = [condition or 0] * size if conditions else None
        attempts: dict[int, int] = {}
        for row, pending in enumerate(batch):
            attempt = attempts[pending.index] = attempts.get(pending.index, pending.judged - 1) + 1
            z[row] = latent(job_seed, pending.index, attempt, z_dim)
            if classes and condition is None:
                classes[row] = pending.index % conditions
        candidates = source.make(z, classes)
        judged, settled = 0, 0
        for row, pending in enumerate(batch):
            if pending.index not in schedule.pending:
                continue
            judged += 1
            if (sample := pending.judge(candidates, row, threshold)) is not None:
                finished[pending.index] = sample
                del schedule.pending[pending.index]
                settled += 1
        report(judged, settled)
        while schedule.begun and schedule.begun[0] in finished:
            yield finished.pop(schedule.begun.popleft())


def _sample_bytes(bundle: GeneratorBundle, labeler: Labeler) -> int:
    layout = labeler.architecture.layout
    return bundle.resolution**2 * (3 + bool(layout.classes) + 4 * (layout.depth is not None))
