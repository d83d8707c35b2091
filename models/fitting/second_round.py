"""The second round of a fit: more to learn masks from than the seeds.

The labeler of the first round labels random images; a teacher learns from those and from the seeds, and says anew what
the masks of the random images are; the labeler of the second round learns from the seeds and from these lessons, whose
codes are exact. What is not in masks it learns from the seeds alone, as in the first round.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.bundle import GeneratorBundle
from models.device import fast_precision
from models.fitting.lattice import Lattice
from models.fitting.seed_features import FEATURE_CACHE_BYTES, PooledFeatures, SeedFeatures, smallest_bytes
from models.fitting.seed_labels import LabelTensors
from models.fitting.settings import FitSettings
from models.fitting.teacher import Pictures, Teacher, teach
from models.fitting.training import Examples, train_labeler
from models.heads.segmentation import IGNORED
from models.labeler import Labeler
from models.labeling import LabelingKernel
from models.labels import LabelLayout
from models.parts import Parts
from models.pictures import to_network
from models.sampling import batch_size, random_codes

LESSONS_SEED = 2**63
"""Lessons are drawn with this seed and those that follow, which no job has."""

LATTICE_SIDE = 64
"""There are many lessons, so fewer pixels of each will do."""

FEWEST = 50
"""Where there is no room for so many lessons, there is no second round."""

SURE = 0.9
"""Where a teacher sees images smaller than they are, it is believed where it gives a class more probability than this:
it cannot tell where exactly a border runs, the seeds can."""

FEW_SEEDS = 25
"""Where fewer of them show some class, the first labeler is so often wrong about it that it is trained as if there were
no other, and that the teacher learns on from what it says itself. Where more do, that brings little."""

PASSES_MORE = 2
"""How often it learns on, each time for half as many steps, at half the rate."""

CHUNK = 8
"""Seeds made small at once."""


@dataclass(frozen=True)
class SeedPictures:
    """What the teacher sees of the seeds. images: uint8 (N, R, R, 3). masks: uint8 (N, R, R). mirror: which class takes
    the place of each in a flipped image; None where images are not to be flipped."""

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    mirror: tuple[int, ...] | None

    @cached_property
    def fewest(self) -> int:
        """How many show the class that fewest show, of those that any shows."""
        shown = sum((np.bincount(mask.ravel(), minlength=IGNORED + 1) > 0).astype(np.int64) for mask in self.masks)
        counts = np.asarray(shown)[:IGNORED]
        return int(counts[counts > 0].min(initial=len(self.masks)))

    def rows(self, chosen: Sequence[int]) -> "SeedPictures":
        """Those of these seeds."""
        index = np.array(chosen, dtype=np.int64)
        return SeedPictures(self.images[index], self.masks[index], self.mirror)

    def small(self, side: int, device: torch.device) -> Pictures:
        """They, at most `side` pixels a side."""
        return Pictures.joined(
            Pictures.small(
                to_network(self.images[start : start + CHUNK], device),
                torch.from_numpy(self.masks[start : start + CHUNK]).to(device),
                side,
            )
            for start in range(0, len(self.images), CHUNK)
        )


def lesson_count(bundle: GeneratorBundle, layout: LabelLayout, codes: int, settings: FitSettings) -> int:
    """How many lessons there are to be, beside so many codes of seeds; 0 for no second round.

    Their features are kept in memory: to make them again for every batch would take longer than all the rest.
    """
    if not layout.classes or settings.lessons < FEWEST:
        return 0
    seeds_side = min(bundle.resolution, settings.lattice_side)
    left = FEATURE_CACHE_BYTES - codes * smallest_bytes(bundle, seeds_side)
    room = left // smallest_bytes(bundle, min(bundle.resolution, LATTICE_SIDE))
    return min(settings.lessons, room) if room >= FEWEST else 0


def room_beside(bundle: GeneratorBundle, lessons: int) -> int:
    """Bytes that the features of seeds may take where those of so many lessons are to be kept, too."""
    return FEATURE_CACHE_BYTES - lessons * smallest_bytes(bundle, min(bundle.resolution, LATTICE_SIDE))


def first_round(lessons: int, fewest: int, settings: FitSettings) -> FitSettings:
    """How the labeler of the first round is trained: where there are lessons, a teacher corrects what it says of them,
    and if it has many seeds for that, fewer steps will do.

    Args:
        fewest: as in `SeedPictures`.
    """
    return replace(settings, steps=settings.first_steps) if lessons and fewest >= FEW_SEEDS else settings


def second_round_steps(
    bundle: GeneratorBundle, lessons: int, fewest: int, settings: FitSettings
) -> tuple[int, int, int]:
    """How many steps `second_round` reports: batches of lessons, steps of the teacher, and of the labeler.

    Args:
        fewest: as in `SeedPictures`.
    """
    if not lessons:
        return 0, 0, 0
    taught = sum(each.teacher_steps for each in _passes(fewest, settings))
    return -(-lessons // batch_size(bundle)), taught, settings.second_steps


def _passes(fewest: int, settings: FitSettings) -> list[FitSettings]:
    """Of each training of the teacher."""
    on = replace(settings, teacher_steps=settings.teacher_steps // 2, teacher_rate=settings.teacher_rate / 2)
    return [settings] + [on] * (PASSES_MORE if fewest < FEW_SEEDS else 0)


def second_round(
    labeler: Labeler,
    seeds: Examples,
    pooled: PooledFeatures | None,
    pictures: SeedPictures,
    lessons: int,
    settings: FitSettings,
    report: Callable[[int], None],
) -> Labeler:
    """The labeler of the second round.

    Args:
        labeler: of the first one.
        seeds, pooled: what that learnt from.
        pictures: of the seeds themselves.
        lessons: how many.
        report: called with what is done of all `second_round_steps`.
    """
    bundle, layout = seeds.features.bundle, labeler.architecture.layout
    drawn, taught, _ = second_round_steps(bundle, lessons, pictures.fewest, settings)
    codes, masks = _lessons(bundle, labeler, pictures, lessons, settings, report)
    lattice = None
    if bundle.resolution > LATTICE_SIDE:
        lattice = Lattice.draw(lessons, bundle.resolution, LATTICE_SIDE, settings.seed, bundle.device)
    so_far = drawn + taught
    room = FEATURE_CACHE_BYTES - seeds.features.kept_bytes
    features = SeedFeatures(bundle, codes, lattice, room, lambda: report(so_far))
    return train_labeler(
        seeds.features,
        seeds.labels,
        seeds.rows,
        layout,
        pooled,
        replace(settings, steps=settings.second_steps),
        lambda steps: report(so_far + steps),
        Examples(features, LabelTensors(masks, None, None, None), torch.arange(lessons)),
    )


def _lessons(
    bundle: GeneratorBundle,
    labeler: Labeler,
    pictures: SeedPictures,
    count: int,
    settings: FitSettings,
    report: Callable[[int], None],
) -> tuple[Tensor, Tensor]:
    """Codes (N, num_ws, w_dim) of random images, and their masks uint8 (N, R, R) by a teacher, 255 where it doubts."""
    drawn, taught, _ = second_round_steps(bundle, count, pictures.fewest, settings)
    codes, generated = _random_pictures(bundle, labeler, count, settings, report)
    small = pictures.small(settings.teacher_side, bundle.device)
    mirror = None if pictures.mirror is None else torch.tensor(pictures.mirror, device=bundle.device)
    classes = labeler.architecture.layout.classes
    passes = _passes(pictures.fewest, settings)
    teacher = _taught(small, generated, classes, mirror, passes, lambda steps: report(drawn + steps))
    least = SURE if bundle.resolution > settings.teacher_side else 0.0
    return codes, teacher.masks(generated.images, bundle.resolution, least, lambda: report(drawn + taught))


def _taught(
    seeds: Pictures,
    generated: Pictures,
    classes: int,
    mirror: Tensor | None,
    passes: list[FitSettings],
    report: Callable[[int], None],
) -> Teacher:
    """The teacher after all passes; see `teach`."""
    first, *more = passes
    random = torch.Generator().manual_seed(first.seed)
    teacher, done = teach(seeds, generated, classes, mirror, first, random, report), first.teacher_steps
    for each in more:
        masks = teacher.masks(generated.images, generated.images.shape[-1], watch=partial(report, done))
        own = replace(generated, masks=masks)
        teacher = teach(seeds, own, classes, mirror, each, random, _behind(done, report), teacher)
        done += each.teacher_steps
    return teacher


def _behind(done: int, report: Callable[[int], None]) -> Callable[[int], None]:
    """`report`, for steps that come after others."""
    return lambda steps: report(done + steps)


@torch.inference_mode()
def _random_pictures(
    bundle: GeneratorBundle, labeler: Labeler, count: int, settings: FitSettings, report: Callable[[int], None]
) -> tuple[Tensor, Pictures]:
    """Codes (N, num_ws, w_dim) of random samples, and what a teacher sees of them, with the labeler's masks; `report`
    is called with the batches made."""
    precision, size, generator = fast_precision(bundle.device), batch_size(bundle), bundle.generator
    kernel, parts = LabelingKernel(labeler, precision), Parts()
    codes: list[Tensor] = []
    pictures: list[Pictures] = []

    def seen(some: Tensor) -> Pictures:
        images, features = generator.synthesis(some, precision)
        masks = kernel.label(features).masks
        assert masks is not None  # noqa: S101 - there is no second round without classes
        return Pictures.small(images.float().clamp(-1, 1), masks, settings.teacher_side)

    for batch, start in enumerate(range(0, count, size)):
        w = random_codes(bundle, LESSONS_SEED + settings.seed, range(start, min(start + size, count)))
        codes.append(w)
        pictures += parts.each(w, seen)
        report(batch + 1)
    return torch.cat(codes), Pictures.joined(pictures)
