"""The heads' arithmetic against closed forms and plain loops in float64."""

import math

import numpy as np
import pytest
import torch

from models.heads.attributes import decide
from models.heads.depth import depth_of, depth_spread
from models.heads.image_head import ImageHead, pooled
from models.heads.keypoints import decode_points, gaussian_targets, heatmap_sigma, keypoints_of, points_uncertainty
from models.heads.segmentation import ignore_most_uncertain, jensen_shannon, vote
from models.heads.uncertainty import combine, mean_of_worst, median_and_spread


def gaussian_logits(x: float, y: float, side: int, sigma: float) -> torch.Tensor:
    centers = torch.arange(side, dtype=torch.float64) + 0.5
    return (-((centers - x) ** 2)[None, :] - ((centers - y) ** 2)[:, None]) / (2 * sigma**2)


@pytest.mark.parametrize("side", [16, 64, 256])
@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.31, 0.43), (0.251, 0.66), (0.7, 0.29)])
def test_a_gaussian_is_decoded_to_its_centre(side: int, x: float, y: float) -> None:
    point = decode_points(gaussian_logits(x * side, y * side, side, heatmap_sigma(side)).float())
    assert point.tolist() == pytest.approx([x * side, y * side], abs=0.1)


def test_points_at_the_border_stay_within_half_a_pixel_and_inside() -> None:
    for x, y in ((0.5, 0.5), (63.5, 63.5), (0.1, 32.0), (63.9, 0.0)):
        point = decode_points(gaussian_logits(x, y, 64, heatmap_sigma(64)))
        assert point.tolist() == pytest.approx([x, y], abs=0.5)
        assert bool(((point > 0) & (point < 64)).all())


def test_a_second_peak_far_away_does_not_pull() -> None:
    near, far = gaussian_logits(20.2, 40.7, 64, 1.6), gaussian_logits(50.0, 10.0, 64, 1.6) - 0.1
    assert decode_points(torch.logaddexp(near, far)).tolist() == pytest.approx([20.2, 40.7], abs=0.1)


def test_targets_are_normalised_gaussians() -> None:
    points = torch.tensor([[3.2, 9.9, 2.0], [12.0, 1.5, 1.0]])
    targets = gaussian_targets(points, 16)
    for target, (x, y, _) in zip(targets, points.tolist(), strict=True):
        expected = gaussian_logits(x, y, 16, heatmap_sigma(16)).exp()
        assert torch.allclose(target.double(), expected / expected.sum(), atol=1e-6)


def test_keypoints_are_those_of_the_mean_and_uncertain_as_members_differ() -> None:
    places = [(20.0, 30.0), (23.0, 30.0), (20.0, 34.0)]
    heatmaps = torch.stack([gaussian_logits(x, y, 64, 1.6) for x, y in places])[None, :, None].float()
    visibility = torch.tensor([0.0, 1.0, 20.0]).expand(1, 3, 1, 3)
    mean = np.mean(places, axis=0)
    expected = math.sqrt(np.mean([np.sum((np.array(place) - mean) ** 2) for place in places]))
    assert points_uncertainty(heatmaps, visibility).tolist() == pytest.approx([expected], abs=0.02)
    # The mean of these logits is that of a Gaussian in the middle.
    assert keypoints_of(heatmaps, visibility)[0, 0].tolist() == pytest.approx([*mean, 2.0], abs=0.05)


def test_points_that_are_not_in_the_image_make_no_sample_uncertain() -> None:
    sure = torch.stack([gaussian_logits(20, 20, 64, 1.6)] * 2)
    unsure = torch.stack([gaussian_logits(20, 20, 64, 1.6), gaussian_logits(50, 50, 64, 1.6)])
    heatmaps = torch.stack([sure, unsure], dim=1)[None].float()
    absent = torch.tensor([[0.0, 0.0, 30.0], [30.0, 0.0, 0.0]]).expand(1, 2, 2, 3)
    assert float(points_uncertainty(heatmaps, absent)) < 1e-3
    present = torch.tensor([[0.0, 0.0, 30.0], [0.0, 0.0, 30.0]]).expand(1, 2, 2, 3)
    assert float(points_uncertainty(heatmaps, present)) == pytest.approx(math.hypot(15, 15) / 2, abs=0.05)


def test_the_divergence_is_the_mean_distance_of_the_members_from_their_mixture() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 4, 3, 3) * 3
    found = jensen_shannon(logits.log_softmax(dim=2), dim=2)
    p = logits.double().softmax(dim=2).numpy()
    for b, y, x in np.ndindex(2, 3, 3):
        mixture = p[b, :, :, y, x].mean(axis=0)
        each = [sum(q * math.log(q / m) for q, m in zip(p[b, i, :, y, x], mixture, strict=True)) for i in range(5)]
        assert float(found[b, y, x]) == pytest.approx(np.mean(each), abs=1e-5)
        assert int(vote(logits.log_softmax(2), 2)[b, y, x]) == mixture.argmax()


def test_attributes_are_decided_one_by_one() -> None:
    torch.manual_seed(0)
    members = (torch.randn(3, 4, 2), torch.randn(3, 4, 5))
    values, uncertainty = decide(members)
    each = [jensen_shannon(logits.log_softmax(2), 2) for logits in members]
    assert torch.allclose(uncertainty, (each[0] + each[1]) / 2)
    assert torch.equal(values[:, 1], members[1].softmax(2).mean(1).argmax(1))


def test_the_most_uncertain_pixels_are_ignored_exactly_as_many_as_asked_for() -> None:
    masks = torch.arange(32, dtype=torch.uint8).view(2, 4, 4)
    uncertainty = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    ignored = ignore_most_uncertain(masks, uncertainty, 0.3)
    for before, after, values in zip(masks, ignored, uncertainty, strict=True):
        worst = values.flatten().argsort(descending=True)[:5]
        assert (after.flatten()[worst] == 255).all()
        assert int((after != before).sum()) == 5
    assert torch.equal(ignore_most_uncertain(masks, uncertainty, 0.0), masks)
    assert (ignore_most_uncertain(masks, torch.zeros(2, 4, 4), 0.25)[:, 0] == 255).all(), "of equal ones the first go"
    assert masks.max() == 31


def test_depth_is_the_members_mean_in_the_unit_and_in_range() -> None:
    members = torch.tensor([-9.0, 0.0, 1.0, 2.0]).view(1, 2, 1, 2)
    center, scale = torch.tensor(5.0), torch.tensor(2.0)
    # Means of (-9, 1) and (0, 2) are -4 and 1.
    assert depth_of(members, center, scale, (1.0, 6.5)).flatten().tolist() == [1.0, 6.5]
    assert depth_of(members, center, scale, (-9.0, 9.0)).flatten().tolist() == [-3.0, 7.0]
    assert depth_spread(members, scale).flatten().tolist() == [10.0, 2.0]


def test_features_are_pooled_over_pixels_in_single_precision() -> None:
    features = [torch.randn(2, 3, 4, 4).bfloat16(), torch.randn(2, 2, 8, 8).bfloat16()]
    expected = torch.cat([f.double().flatten(2).mean(dim=2) for f in features], dim=1)
    assert pooled(features).dtype == torch.float32
    assert torch.allclose(pooled(features).double(), expected, atol=1e-5)


def test_one_image_alone_standardises_nothing() -> None:
    head = ImageHead(4, 2, 3)
    head.standardise(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert head.scale.tolist() == [1.0] * 4


def test_kinds_are_combined_after_standardising() -> None:
    kinds = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([10.0, 50.0])}
    both = combine(kinds, torch.tensor([1.0, 30.0]), torch.tensor([2.0, 20.0]))
    assert both.tolist() == [(0 - 1) / 2, (1 + 1) / 2]
    assert combine({"a": kinds["a"]}, torch.tensor([9.0]), torch.tensor([9.0])).tolist() == [1.0, 3.0]
    assert median_and_spread(torch.tensor([1.0, 2.0, 9.0])) == (2.0, pytest.approx(8 / 3))
    assert median_and_spread(torch.zeros(5))[1] > 0


def test_the_worst_tenth_is_averaged() -> None:
    values = torch.arange(100.0).view(1, 10, 10)
    assert mean_of_worst(values).tolist() == [94.5]
    assert mean_of_worst(torch.tensor([[[1.0, 4.0]]])).tolist() == [4.0]
