"""Both distances against closed forms and naive sums, and features that are never mixed up."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from models.distances import inception
from models.distances.features import choose_features, measure
from models.distances.frechet import frechet_distance
from models.distances.kernel import kernel_distance, squared_mmd
from models.distances.random_convnet import RandomConvnet
from models.distances.statistics import (
    KEPT_ROWS,
    Distance,
    FeaturesDiffer,
    FeatureStatistics,
    StatisticsBuilder,
    distance,
)


def rows(count: int, dimensions: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions))


def statistics(values: np.ndarray, features: str = "some", batch: int = 7) -> FeatureStatistics:
    builder = StatisticsBuilder(features)
    for start in range(0, len(values), batch):
        builder.add(values[start : start + batch])
    return builder.finish()


def test_frechet_distance_of_independent_gaussians_is_that_of_their_axes() -> None:
    a, b = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.0])
    mean_a, mean_b = np.array([0.0, 1.0, 2.0]), np.array([2.0, 1.0, -1.0])
    expected = np.square(mean_a - mean_b).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    assert frechet_distance(mean_a, np.diag(a), mean_b, np.diag(b)) == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_of_correlated_gaussians() -> None:
    """B = T A T with T symmetric: then T is the optimal transport, and the distance is tr((T − 1) A (T − 1))."""
    x = rows(8, 6, 0)
    covariance = x.T @ x
    y = rows(6, 6, 1)
    transport = y @ y.T / 6
    shift = rows(1, 6, 2)[0]
    difference = transport - np.eye(6)
    expected = shift @ shift + np.trace(difference @ covariance @ difference)
    found = frechet_distance(np.zeros(6), covariance, shift, transport @ covariance @ transport)
    assert found == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(shift, covariance, shift, covariance) == pytest.approx(0.0, abs=1e-9)


def naive_mmd(a: np.ndarray, b: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (sum(u * v for u, v in zip(x, y, strict=True)) / len(x) + 1) ** 3

    within_a = [kernel(a[i], a[j]) for i, j in product(range(len(a)), repeat=2) if i != j]
    within_b = [kernel(b[i], b[j]) for i, j in product(range(len(b)), repeat=2) if i != j]
    between = [kernel(x, y) for x, y in product(a, b)]
    return float(np.mean(within_a) + np.mean(within_b) - 2 * np.mean(between))


def test_kernel_distance_against_a_double_loop() -> None:
    a, b = rows(12, 5, 0), 1 + 2 * rows(10, 5, 1)
    assert squared_mmd(a, b) == pytest.approx(naive_mmd(a, b), rel=1e-12)
    in_blocks = np.mean([naive_mmd(a[s : s + 5], b[s : s + 5]) for s in (0, 5)])
    assert kernel_distance(a, b, block=5) == pytest.approx(in_blocks, rel=1e-12)
    with pytest.raises(ValueError, match="two at least"):
        kernel_distance(a[:1], b)


def test_kernel_distance_has_no_bias() -> None:
    draws = [kernel_distance(rows(60, 4, 2 * i), rows(60, 4, 2 * i + 1), block=30) for i in range(200)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(len(draws))


def test_statistics_gathered_in_batches_are_those_of_all_rows() -> None:
    values = 1000 + rows(50, 4, 3)
    found = statistics(values)
    assert found.count == 50
    assert np.allclose(found.mean, values.mean(axis=0), rtol=1e-13)
    assert np.allclose(found.covariance, np.cov(values.T), rtol=1e-9)
    assert np.array_equal(found.rows, values)
    assert statistics(rows(KEPT_ROWS + 30, 2, 4), batch=100).rows.shape == (KEPT_ROWS, 2)
    with pytest.raises(ValueError, match="fewer than two"):
        StatisticsBuilder("some").finish()


def test_statistics_come_back_from_disk(tmp_path: Path) -> None:
    stored = statistics(rows(20, 3, 5))
    stored.save(tmp_path / "some.npz")
    again = FeatureStatistics.load(tmp_path / "some.npz")
    assert again.features == "some"
    assert distance(again, stored).frechet == pytest.approx(0.0, abs=1e-9)
    assert [p.name for p in tmp_path.iterdir()] == ["some.npz"]


def test_results_of_different_features_cannot_be_compared() -> None:
    with pytest.raises(FeaturesDiffer, match="random-convnet-v1 cannot be compared with inception-torchvision"):
        distance(statistics(rows(9, 3, 0), "random-convnet-v1"), statistics(rows(9, 3, 0), "inception-torchvision"))
    near, far = Distance("a", 1.0, 0.1, 9, 9), Distance("b", 2.0, 0.2, 9, 9)
    with pytest.raises(FeaturesDiffer):
        near.is_closer_than(far)
    assert near.is_closer_than(Distance("a", 2.0, 0.0, 9, 9))


def test_random_features_are_the_same_everywhere() -> None:
    network = RandomConvnet()
    assert all(float(w.square().sum(dim=(1, 2, 3)).sub(2).abs().max()) < 1e-5 for w in network.weights)
    assert [round(float(w.double().sum()), 4) for w in network.weights] == [3.5821, 4.8244, -6.7856, 0.8086]
    assert network(torch.zeros(2, 3, 100, 100)).shape == (2, network.dimensions)
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, network.dimensions)


def test_random_features_rank_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more an image set is blurred, or the fewer images it repeats, the further it is away."""
    random = torch.Generator().manual_seed(0)

    def scenes(count: int) -> torch.Tensor:
        coarse = torch.rand(count, 3, 8, 8, generator=random) * 2 - 1
        return torch.nn.functional.interpolate(coarse, (32, 32), mode="nearest")

    network = RandomConvnet()

    def away(images: torch.Tensor) -> float:
        return distance(measure(network, images.split(50)), references).frechet

    references, fresh = measure(network, scenes(300).split(50)), scenes(300)
    blurred = [torch.nn.functional.avg_pool2d(fresh, k, 1, k // 2, count_include_pad=False) for k in (1, 3, 5, 7)]
    ranks = [away(images) for images in blurred]
    assert ranks == sorted(ranks)
    assert away(fresh) < away(fresh[:60].repeat(5, 1, 1, 1)) < away(fresh[:10].repeat(30, 1, 1, 1))


def test_features_are_chosen_by_name_and_by_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert choose_features().name == "random-convnet-v1"
    with pytest.raises(ValueError, match="not in torch's cache; give their path"):
        choose_features("inception-torchvision")
    with pytest.raises(ValueError, match="must be auto"):
        choose_features("vgg")
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "inception_v3_google-0cc3c7bd.pth"
    file.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="not torchvision's weights of inception_v3"):
        choose_features()
    from torchvision.models import inception_v3

    torch.save(inception_v3(weights=None, init_weights=False).state_dict(), file)
    network = choose_features()
    assert network.name == inception.NAME
    found = measure(network, [torch.rand(2, 3, 32, 32) * 2 - 1])
    assert found.mean.shape == (network.dimensions,)
