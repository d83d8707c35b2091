import numpy as np
import pytest
import torch

from models.bundle import GeneratorBundle
from models.labeler import Labeler, LabelerArchitecture
from models.sampling import ATTEMPTS, Sample, batch_size, labeled_samples, latent, pilot_uncertainty


@pytest.fixture
def labeler(tiny_bundle: GeneratorBundle) -> Labeler:
    torch.manual_seed(2)
    architecture = tiny_bundle.generator.architecture
    sides = tuple(r for r in architecture.resolutions for _ in range(1 if r == 4 else 2))
    labeler = Labeler(LabelerArchitecture(tuple(architecture.feature_channels), sides, 16, 5, 4, (8, 8)))
    labeler.requires_grad_(False)
    pilots = torch.cat(list(pilot_uncertainty(tiny_bundle, labeler, 1000, 1.0, seed=99)))
    assert len(pilots) == 1000
    labeler.remember_uncertainty([1.0], [pilots])
    return labeler


def same(a: Sample, b: Sample) -> bool:
    return a.index == b.index and np.array_equal(a.image, b.image) and np.array_equal(a.mask, b.mask)


def test_exactly_the_samples_asked_for_come_in_order(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    samples = list(labeled_samples(tiny_bundle, labeler, 7, range(5, 175), discard_fraction=0.5))
    assert [s.index for s in samples] == list(range(5, 175))
    assert all(s.image.shape == (16, 16, 3) and s.image.dtype == np.uint8 for s in samples)
    assert all(s.mask.shape == (16, 16) and s.mask.max() < 5 for s in samples)


def test_a_sample_is_the_same_bytes_in_any_company(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    everything = list(labeled_samples(tiny_bundle, labeler, 7, range(150), discard_fraction=0.3))
    for part in (range(3), range(40, 41), range(60, 131)):
        again = list(labeled_samples(tiny_bundle, labeler, 7, part, discard_fraction=0.3))
        assert all(same(a, everything[a.index]) for a in again)
    other = next(labeled_samples(tiny_bundle, labeler, 8, range(1), discard_fraction=0.3))
    assert not np.array_equal(other.image, everything[0].image)


def test_the_uncertain_are_drawn_again(tiny_bundle: GeneratorBundle, labeler: Labeler) -> None:
    threshold = labeler.discard_threshold(0.4, 1.0)
    plain = list(labeled_samples(tiny_bundle, labeler, 3, range(200), discard_fraction=0.0))
    strict = list(labeled_samples(tiny_bundle, labeler, 3, range(200), discard_fraction=0.4))
    rejected = [s.uncertainty > threshold for s in plain]
    assert 0.25 < np.mean(rejected) < 0.55
    assert all(s.uncertainty <= threshold for s in strict)
    for before, after, again in zip(plain, strict, rejected, strict=True):
        assert same(before, after) != again


def test_a_threshold_that_nothing_meets_delivers_the_least_uncertain(
    tiny_bundle: GeneratorBundle, labeler: Labeler
) -> None:
    labeler.remember_uncertainty([1.0], [torch.full((10,), -1.0)])
    samples = list(labeled_samples(tiny_bundle, labeler, 3, range(10), discard_fraction=0.1))
    assert len(samples) == 10
    labeler.remember_uncertainty([1.0], [torch.full((10,), 1e9)])
    first = list(labeled_samples(tiny_bundle, labeler, 3, range(10), discard_fraction=0.1))
    assert ATTEMPTS > 1
    assert all(s.uncertainty <= f.uncertainty for s, f in zip(samples, first, strict=True))
    assert any(s.uncertainty < f.uncertainty for s, f in zip(samples, first, strict=True))


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
