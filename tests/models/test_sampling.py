from collections.abc import Callable, Iterator
from dataclasses import fields

import numpy as np
import pytest
import torch

from models.architecture import Architecture
from models.bundle import GeneratorBundle
from models.candidates import CandidateSource
from models.generator import Generator
from models.inversion.latents import measure_latents
from models.labeler import Labeler, LabelerArchitecture
from models.labeling import LabelingKernel
from models.labels import ImageLabels, LabelLayout
from models.pictures import to_uint8
from models.sampling import ATTEMPTS, Sample, Wish, batch_size, labeled_samples, latent

LAYOUT = LabelLayout(classes=5, points=2, depth=(-1.0, 1.0), attributes=(3, 2))


def make_labeler(bundle: GeneratorBundle, layout: LabelLayout) -> Labeler:
    """Random weights, with features standardised and uncertainty measured over random samples."""
    torch.manual_seed(2)
    generator, architecture = bundle.generator, bundle.generator.architecture
    channels, sides = architecture.feature_channels, architecture.feature_sides
    labeler = Labeler(LabelerArchitecture(channels, sides, architecture.resolution, layout, 4, (8, 8)))
    labeler.requires_grad_(False)
    with torch.inference_mode():
        z = torch.randn(512, architecture.z_dim)
        w = generator.mapping(z, 1.0, generator.mapping.random_classes(512, torch.Generator()))
        features = generator.synthesis(generator.broadcast(w))[1]
        labeler.standardise(features)
        kinds = labeler.label(features).kinds
        labeler.standardise_uncertainty(kinds)
        labeler.remember_uncertainty([1.0], [labeler.combined(kinds)])
    return labeler


@pytest.fixture
def labeler(tiny_bundle: GeneratorBundle) -> Labeler:
    return make_labeler(tiny_bundle, LAYOUT)


def same(a: Sample, b: Sample) -> bool:
    """Whether two samples are the same to the last bit."""
    arrays = [(a.image, b.image)] + [
        (getattr(a.labels, f.name), getattr(b.labels, f.name)) for f in fields(ImageLabels)
    ]
    return all(np.array_equal(left, right) for left, right in arrays) and (
        (a.index, a.uncertainty, a.kinds, a.attempts, a.met) == (b.index, b.uncertainty, b.kinds, b.attempts, b.met)
    )


def test_exactly_the_samples_asked_for_come_in_order(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    samples = list(labeled_samples(tiny_bundle, labeler, 7, range(5, 175), discard_fraction=0.5))
    assert [s.index for s in samples] == list(range(5, 175))
    for sample in samples:
        labels = sample.labels
        assert (sample.image.shape, sample.image.dtype) == ((16, 16, 3), np.uint8)
        assert (labels.mask.shape, labels.mask.dtype) == ((16, 16), np.uint8)
        assert labels.mask.max() < 5
        assert (labels.keypoints.shape, labels.keypoints.dtype) == ((2, 3), np.float32)
        assert (labels.depth.shape, labels.depth.dtype) == ((16, 16), np.float32)
        assert (labels.attributes.shape, labels.attributes.dtype) == ((2,), np.int64)
        assert list(sample.kinds) == ["segmentation", "keypoints", "depth", "class"]
        assert sample.met
    assert max(s.attempts for s in samples) > 1


def test_a_sample_is_what_generator_and_labeler_make_of_its_latent(
    tiny_bundle: GeneratorBundle, labeler: Labeler
) -> None:
    generator = tiny_bundle.generator
    for sample in labeled_samples(tiny_bundle, labeler, 11, range(20), 0.7, 0.3):
        z = torch.from_numpy(latent(11, sample.index, sample.attempts - 1, 16)).unsqueeze(0)
        with torch.inference_mode():
            w = generator.mapping(z, 0.7)
            images, features = generator.synthesis(generator.broadcast(w), torch.bfloat16)
            labels = labeler.label([f.float() for f in features])
        assert np.abs(sample.image.astype(int) - to_uint8(images)[0]).max() <= 8
        assert (sample.labels.mask == labels.masks[0].numpy()).mean() > 0.95
        assert np.allclose(sample.labels.depth, labels.depth[0], atol=0.05)
        assert sample.uncertainty == pytest.approx(float(labels.uncertainty), abs=0.2)


def test_a_sample_is_the_same_bytes_in_any_company(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    def wish(index: int) -> Wish | None:
        return Wish(attribute=(1, index % 2)) if index % 3 == 0 else None

    def run(indices: range) -> list[Sample]:
        return list(
            labeled_samples(tiny_bundle, labeler, 7, indices, 1.0, 0.3, wish=wish, ignore_fraction=0.1, max_attempts=9)
        )

    everything = run(range(150))
    for part in (range(3), range(40, 41), range(60, 131)):
        assert all(same(a, everything[a.index]) for a in run(part))
    other = next(labeled_samples(tiny_bundle, labeler, 8, range(1), discard_fraction=0.3))
    assert not np.array_equal(other.image, everything[0].image)


def test_a_candidate_is_the_same_bytes_in_any_row(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    source = CandidateSource(tiny_bundle, LabelingKernel(labeler, torch.bfloat16), 1.0, 0.0)
    z = np.stack([latent(1, row, 0, 16) for row in range(64)])
    random = np.random.default_rng(0)
    order = random.permutation(64)
    straight, shuffled = source.make(z, None), source.make(z[order], None)
    company = source.make(np.concatenate([z[:1], random.standard_normal((63, 16), dtype=np.float32)]), None)
    for name in ("images", "masks", "keypoints", "depth", "attributes"):
        a, b = getattr(straight, name), getattr(shuffled, name)
        assert np.array_equal(a[order], b), name
        assert np.array_equal(a[0], getattr(company, name)[0]), name
    assert [straight.uncertainty[row] for row in order] == shuffled.uncertainty
    assert straight.uncertainty[0] == company.uncertainty[0]


def test_the_uncertain_are_drawn_again(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    threshold = labeler.discard_threshold(0.4, 1.0)
    plain = list(labeled_samples(tiny_bundle, labeler, 3, range(200), discard_fraction=0.0))
    strict = list(labeled_samples(tiny_bundle, labeler, 3, range(200), discard_fraction=0.4))
    rejected = [s.uncertainty > threshold for s in plain]
    assert 0.25 < np.mean(rejected) < 0.55
    assert all(s.attempts == 1 for s in plain)
    assert all(s.uncertainty <= threshold for s in strict)
    for before, after, again in zip(plain, strict, rejected, strict=True):
        assert same(before, after) != again
        assert (after.attempts > 1) == again


def candidates(bundle: GeneratorBundle, labeler: Labeler, seed: int, index: int, attempts: int) -> list[Sample]:
    """The candidates of one index, as they would come if it were asked for and each were the first."""
    source = CandidateSource(bundle, LabelingKernel(labeler, torch.bfloat16), 1.0, 0.0)
    z = np.zeros((batch_size(bundle), 16), np.float32)
    z[:attempts] = [latent(seed, index, attempt, 16) for attempt in range(attempts)]
    made = source.make(z, None)
    return [
        Sample(index, made.images[row], made.labels(row), made.uncertainty[row], {}, row + 1, True)
        for row in range(attempts)
    ]


def test_a_threshold_that_nothing_meets_delivers_the_least_uncertain(
    tiny_bundle: GeneratorBundle, labeler: Labeler
) -> None:
    labeler.remember_uncertainty([1.0], [torch.full((10,), -1e9)])
    samples = list(labeled_samples(tiny_bundle, labeler, 3, range(10), discard_fraction=0.1))
    assert len(samples) == 10
    for sample in samples:
        best = min(candidates(tiny_bundle, labeler, 3, sample.index, ATTEMPTS), key=lambda c: c.uncertainty)
        assert np.array_equal(sample.image, best.image)
        assert (sample.uncertainty, sample.attempts, sample.met) == (best.uncertainty, ATTEMPTS, True)


@pytest.mark.parametrize(
    ("wish", "shown"),
    [
        (Wish(attribute=(0, 1)), lambda labels: labels.attributes[0] == 1),
        (Wish(coverage=(2, 0.3)), lambda labels: (labels.mask == 2).mean() >= 0.3),
        (
            Wish(attribute=(1, 0), coverage=(0, 0.15)),
            lambda labels: labels.attributes[1] == 0 and (labels.mask == 0).mean() >= 0.15,
        ),
    ],
)
def test_a_wish_is_met_by_the_first_candidate_that_shows_it(
    tiny_bundle: GeneratorBundle, labeler: Labeler, wish: Wish, shown: Callable[[ImageLabels], bool]
) -> None:
    threshold, wished = labeler.discard_threshold(0.2, 1.0), range(0, 30, 2)
    samples = list(
        labeled_samples(
            tiny_bundle, labeler, 5, range(30), 1.0, 0.2, wish=lambda i: wish if i in wished else None, max_attempts=64
        )
    )
    free = list(labeled_samples(tiny_bundle, labeler, 5, range(30), 1.0, 0.2))
    redrawn = 0
    for sample in samples:
        if sample.index not in wished:
            assert same(sample, free[sample.index])
            continue
        drawn = candidates(tiny_bundle, labeler, 5, sample.index, 64)
        fit = [c for c in drawn if shown(c.labels) and c.uncertainty <= threshold]
        showing = [c for c in drawn if shown(c.labels)]
        expected = fit[0] if fit else min(showing or drawn, key=lambda c: c.uncertainty)
        assert np.array_equal(sample.image, expected.image)
        assert sample.attempts == (expected.attempts if fit else 64)
        assert sample.met == bool(showing) == bool(shown(sample.labels))
        redrawn += sample.attempts > 1
    assert redrawn > 3


@pytest.mark.parametrize("max_attempts", [1, 200])
def test_samples_without_a_wish_are_those_of_a_job_without_wishes(
    tiny_bundle: GeneratorBundle, labeler: Labeler, max_attempts: int
) -> None:
    """However many attempts a wish may take: where nothing will do, and where a second attempt does."""
    for discard_fraction, uncertainties in ((0.5, None), (0.1, torch.full((10,), -1e9))):
        if uncertainties is not None:
            labeler.remember_uncertainty([1.0], [uncertainties])
        free = list(labeled_samples(tiny_bundle, labeler, 5, range(20), 1.0, discard_fraction))
        samples = labeled_samples(
            tiny_bundle,
            labeler,
            5,
            range(20),
            1.0,
            discard_fraction,
            wish=lambda index: Wish(coverage=(1, 1.1)) if index % 2 else None,
            max_attempts=max_attempts,
        )
        for sample in samples:
            if sample.index % 2:
                assert (sample.attempts, sample.met) == (max_attempts, False)
            else:
                assert same(sample, free[sample.index])


def test_with_truncation_0_nothing_is_drawn_again(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    labeler.remember_uncertainty([1.0], [torch.full((2,), -torch.inf)])
    unmet = Wish(coverage=(1, 1.1))
    drawn: list[int] = []
    samples = list(
        labeled_samples(
            tiny_bundle,
            labeler,
            5,
            range(40),
            truncation=0.0,
            discard_fraction=0.5,
            wish=lambda i: unmet if i % 2 else None,
            max_attempts=64,
            report=lambda judged, _settled: drawn.append(judged),
        )
    )
    assert sum(drawn) == len(samples) == 40
    assert [(sample.attempts, sample.met) for sample in samples] == [(1, True), (1, False)] * 20
    assert all(np.array_equal(sample.image, samples[0].image) for sample in samples)


def test_a_wish_that_cannot_be_met_says_so(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    samples = labeled_samples(
        tiny_bundle, labeler, 5, range(5), 1.0, 0.5, wish=lambda _: Wish(coverage=(1, 1.1)), max_attempts=3
    )
    for sample in samples:
        best = min(candidates(tiny_bundle, labeler, 5, sample.index, 3), key=lambda c: c.uncertainty)
        assert (sample.met, sample.attempts, sample.uncertainty) == (False, 3, best.uncertainty)


def test_draws_are_reported_while_nothing_comes_out(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    told: list[tuple[int, int]] = []
    samples = labeled_samples(
        tiny_bundle,
        labeler,
        5,
        range(80),
        1.0,
        0.5,
        wish=lambda index: Wish(coverage=(1, 1.1)) if index == 0 else None,
        max_attempts=700,
        report=lambda judged, settled: told.append((judged, settled)),
    )
    first = next(samples)
    assert (first.index, first.attempts) == (0, 700)
    assert len(told) > 10
    everything = [first, *samples]
    assert sum(judged for judged, _ in told) == sum(sample.attempts for sample in everything)
    assert sum(settled for _, settled in told) == 80


def test_batches_are_full_while_there_is_something_to_draw(
    tiny_bundle: GeneratorBundle, labeler: Labeler, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = CandidateSource.make

    def counted(self: CandidateSource, z: np.ndarray, classes: list[int] | None) -> object:
        made.append(int(z.any(axis=1).sum()))
        return make(self, z, classes)

    monkeypatch.setattr(CandidateSource, "make", counted)
    never = Wish(coverage=(1, 1.1))
    list(labeled_samples(tiny_bundle, labeler, 5, range(4), 1.0, 0, wish=lambda _: never, max_attempts=32))
    assert made == [64, 64]
    made.clear()
    list(labeled_samples(tiny_bundle, labeler, 5, range(640), 1.0, 0.1))
    assert all(rows == 64 for rows in made[:-1])
    assert len(made) <= 13


def test_what_waits_for_an_earlier_sample_is_bounded(
    tiny_bundle: GeneratorBundle, labeler: Labeler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.sampling.WAITING_BYTES", 100 * 16 * 16 * 8)
    asked: list[int] = []

    def wish(index: int) -> Wish | None:
        asked.append(index)
        return Wish(coverage=(1, 1.1)) if index == 0 else None

    samples = labeled_samples(tiny_bundle, labeler, 5, range(10_000), 1.0, 0.1, wish=wish, max_attempts=1000)
    assert next(samples).attempts == 1000
    assert max(asked) < 100


def test_the_most_uncertain_pixels_are_ignored_on_request(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    plain = list(labeled_samples(tiny_bundle, labeler, 3, range(20), discard_fraction=0.0))
    ignoring = list(labeled_samples(tiny_bundle, labeler, 3, range(20), discard_fraction=0.0, ignore_fraction=0.25))
    for before, after in zip(plain, ignoring, strict=True):
        ignored = after.labels.mask == 255
        assert ignored.sum() == 64
        assert np.array_equal(before.labels.mask[~ignored], after.labels.mask[~ignored])
        assert before.uncertainty == after.uncertainty


@pytest.fixture
def conditional_bundle() -> GeneratorBundle:
    torch.manual_seed(6)
    architecture = Architecture(16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16, c_dim=3)
    generator = Generator(architecture).eval().requires_grad_(False)
    return GeneratorBundle(generator, None, measure_latents(generator))


def test_a_conditional_generator_makes_the_class_asked_for_or_all_in_turn(conditional_bundle: GeneratorBundle) -> None:
    bundle = conditional_bundle
    labeler = make_labeler(bundle, LabelLayout(classes=3))

    def run(condition: int | None) -> Iterator[Sample]:
        return labeled_samples(bundle, labeler, 4, range(2, 14), discard_fraction=0.0, condition=condition)

    of_class = [{s.index: s for s in run(condition)} for condition in range(3)]
    for sample in run(None):
        alike = [same(sample, samples[sample.index]) for samples in of_class]
        assert alike == [sample.index % 3 == condition for condition in range(3)]
    for condition in (3, -1):
        with pytest.raises(ValueError, match="the generator has 3 classes"):
            next(run(condition))


def test_only_conditional_generators_take_a_condition(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    with pytest.raises(ValueError, match="the generator has no classes"):
        next(labeled_samples(tiny_bundle, labeler, 4, range(2), condition=0))


def test_running_out_of_memory_makes_a_batch_in_parts(
    tiny_bundle: GeneratorBundle, labeler: Labeler, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(labeled_samples(tiny_bundle, labeler, 7, range(64), discard_fraction=0.0))
    make, sizes = CandidateSource._make, []

    def scarce(self: CandidateSource, codes: torch.Tensor) -> object:
        sizes.append(len(codes))
        if len(codes) > 16:
            raise torch.OutOfMemoryError("no memory for so many")
        return make(self, codes)

    monkeypatch.setattr(CandidateSource, "_make", scarce)
    samples = list(labeled_samples(tiny_bundle, labeler, 7, range(128), discard_fraction=0.0))
    assert sizes == [64, 32] + 8 * [16]
    for a, b in zip(samples, expected, strict=False):
        assert np.abs(a.image.astype(int) - b.image).max() <= 8
        assert (a.labels.mask == b.labels.mask).mean() > 0.95


def test_truncation_narrows_the_samples(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    tiny_bundle.generator.mapping.w_avg.copy_(tiny_bundle.latents.w_avg)

    def spread(psi: float) -> float:
        samples = labeled_samples(tiny_bundle, labeler, 1, range(50), truncation=psi, discard_fraction=0)
        return float(np.stack([s.image for s in samples]).astype(float).std(axis=0).mean())

    assert spread(0.3) < 0.6 * spread(1.0)


def test_latents_are_normal_and_depend_on_every_argument() -> None:
    draws = np.stack([latent(1, i, 0, 64) for i in range(2000)])
    assert abs(draws.mean()) < 0.01
    assert draws.std() == pytest.approx(1.0, abs=0.01)
    base = latent(1, 2, 3, 64)
    assert np.array_equal(base, latent(1, 2, 3, 64))
    for other in (latent(2, 2, 3, 64), latent(1, 3, 3, 64), latent(1, 2, 4, 64), latent(2**63 - 1, 2, 3, 64)):
        assert not np.allclose(base, other)
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.5


def test_the_batch_is_fixed_by_the_generator(tiny_bundle: GeneratorBundle) -> None:
    assert batch_size(tiny_bundle) == 64
