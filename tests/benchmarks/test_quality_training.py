"""What the networks of the quality benchmark are shown, and how their outputs are read."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from benchmarks.quality.data import LabeledImages
from benchmarks.quality.distortion import Batch, distort
from benchmarks.quality.nets import KINDS, TaskNet
from benchmarks.quality.scoring import decode
from benchmarks.quality.training import Batches, Budget, Mixture, TrainedNet, depth_loss, train_net
from models.bears.scene import KEYPOINT_MIRROR
from models.fitting import StackedLabels
from models.fitting.distortion import Strength

SIDE, COUNT, POINTS = 64, 24, len(KEYPOINT_MIRROR)
CELL = 8
PLAIN = Strength(gain=0.0, contrast=0.0, tint=0.0, noise=0.0)
STILL = replace(PLAIN, scale=1.0, turn=0.0, shift=0.0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def places() -> torch.Tensor:
    """The place of each pixel's centre, in pixels: (2, SIDE, SIDE), x and y."""
    centers = torch.arange(SIDE) + 0.5
    return torch.stack([centers.expand(SIDE, SIDE), centers[:, None].expand(SIDE, SIDE)])


def charted() -> Batch:
    """Images whose first channels say where each pixel is, masks that say in which cell, and depth that says both."""
    x, y = places()
    chart = torch.stack([x, y, torch.zeros_like(x)]) * 2 / SIDE - 1
    cells = (x // CELL + (SIDE // CELL) * (y // CELL)).long()
    random = torch.Generator().manual_seed(3)
    points = torch.rand(COUNT, POINTS, 3, generator=random) * SIDE
    points[..., 2] = 2.0
    return Batch(
        chart.repeat(COUNT, 1, 1, 1),
        cells.repeat(COUNT, 1, 1),
        points,
        (100 * x + y).repeat(COUNT, 1, 1),
        torch.arange(COUNT)[:, None],
    )


def read(chart: npt.NDArray[np.float64], x: float, y: float) -> npt.NDArray[np.float64]:
    """The values (2,) of a chart (2, SIDE, SIDE) at a place in pixels, between the four pixels around it."""
    left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    a, b = x - 0.5 - left, y - 0.5 - top
    four = chart[:, top : top + 2, left : left + 2]
    mixed: npt.NDArray[np.float64] = (1 - b) * ((1 - a) * four[:, 0, 0] + a * four[:, 0, 1]) + b * (
        (1 - a) * four[:, 1, 0] + a * four[:, 1, 1]
    )
    return mixed


def test_masks_depth_and_points_go_where_the_image_goes() -> None:
    before = charted()
    after = distort(before, PLAIN, torch.Generator().manual_seed(1))
    assert after.masks is not None and after.depth is not None
    assert before.keypoints is not None and after.keypoints is not None
    charts = ((after.images[:, :2].double() + 1) * SIDE / 2).numpy()
    known = (after.masks != 255).numpy()
    assert 0.7 < known.mean() < 0.99
    assert torch.equal(after.depth.isnan(), after.masks == 255)

    # The chart says where a pixel came from; labels were taken from the nearest pixel to there.
    x, y = charts[:, 0], charts[:, 1]
    inner = known & (np.minimum(x, y) > 1) & (np.maximum(x, y) < SIDE - 1)
    nearest_x, nearest_y = np.floor(x), np.floor(y)
    clear = inner & (np.abs(x - np.round(x)) > 0.01) & (np.abs(y - np.round(y)) > 0.01)
    cells = nearest_x // CELL + (SIDE // CELL) * (nearest_y // CELL)
    assert clear.mean() > 0.5
    assert np.array_equal(after.masks.numpy()[clear], cells[clear].astype(np.int64))
    # What was zoomed is nearer by as much: a step of a pixel moves so much less on the chart.
    middle = SIDE // 2
    step = (charts[:, :, middle, middle + 4] - charts[:, :, middle, middle - 4]) / 8
    nearer = np.hypot(step[:, 0], step[:, 1])[:, None, None]
    assert nearer.min() < 0.9 and nearer.max() > 1.1
    wanted_depth = nearer * (100 * (nearest_x + 0.5) + nearest_y + 0.5)
    assert np.abs(after.depth.numpy() - wanted_depth)[clear].max() < 0.01 + 1e-4 * wanted_depth.max()

    checked = {True: 0, False: 0}
    for index, chart in enumerate(charts):
        middle = chart[0, SIDE // 2]
        mirrored = bool(middle[SIDE // 2 + 4] < middle[SIDE // 2 - 4])
        for point, (to_x, to_y, seen) in enumerate(after.keypoints[index].tolist()):
            if not seen or not 4 < to_x < SIDE - 4 or not 4 < to_y < SIDE - 4:
                continue
            origin = KEYPOINT_MIRROR[point] if mirrored else point
            wanted = before.keypoints[index, origin, :2].numpy()
            if wanted.min() < 2 or wanted.max() > SIDE - 2:
                continue
            assert np.abs(read(chart, to_x, to_y) - wanted).max() < 0.01
            checked[mirrored] += 1
    assert min(checked.values()) > 30


def test_points_that_leave_the_image_are_not_labeled() -> None:
    before = charted()
    after = distort(before, replace(PLAIN, shift=0.4), torch.Generator().manual_seed(1))
    assert after.keypoints is not None
    inside = ((after.keypoints[..., :2] > 0) & (after.keypoints[..., :2] < SIDE)).all(dim=-1)
    assert torch.equal(inside, after.keypoints[..., 2] == 2)
    assert 0 < int(inside.sum()) < inside.numel()


def test_without_strength_an_image_stays_or_is_mirrored() -> None:
    before = charted()
    after = distort(before, STILL, torch.Generator().manual_seed(5))
    assert before.keypoints is not None and after.keypoints is not None
    assert before.masks is not None and after.masks is not None
    seen = set()
    for index in range(COUNT):
        mirrored = bool(after.images[index, 0, 0, 0] > 0)
        seen.add(mirrored)
        image, mask, points = before.images[index], before.masks[index], before.keypoints[index]
        if mirrored:
            image, mask, points = image.flip(-1), mask.flip(-1), points[torch.as_tensor(KEYPOINT_MIRROR)].clone()
            points[:, 0] = SIDE - points[:, 0]
        torch.testing.assert_close(after.images[index], image, atol=1e-5, rtol=0)
        torch.testing.assert_close(after.keypoints[index], points, atol=1e-3, rtol=0)
        assert torch.equal(after.masks[index], mask)
    assert seen == {True, False}


def source(count: int, level: int, depth: float = 1.0) -> LabeledImages:
    """Grey images of one level, with labels of every kind."""
    labels = StackedLabels(
        np.zeros((count, 16, 16), np.uint8),
        np.full((count, POINTS, 3), 2.0, np.float32),
        np.linspace(depth, 2 * depth, count * 256, dtype=np.float32).reshape(count, 16, 16),
        np.zeros((count, 1), np.int64),
    )
    return LabeledImages(np.full((count, 16, 16, 3), level, np.uint8), labels)


@pytest.mark.parametrize(("share", "least", "most", "total"), [(0.5, 16, 16, 160), (0.3, 9, 10, 96), (0.0, 0, 0, 0)])
def test_seeds_have_their_share_of_every_batch(share: float, least: int, most: int, total: int) -> None:
    generated, seeds = source(50, 10), source(7, 200)
    batches = Batches(Mixture(generated, seeds, (share, share)), Budget(10, 32), seed=4)
    drawn = [batches.next() for _ in range(10)]
    counts = [sum(len(rows) for part, rows in parts if part is seeds) for parts in drawn]
    assert all(sum(len(rows) for _, rows in parts) == 32 for parts in drawn)
    assert (min(counts), max(counts), sum(counts)) == (least, most, total)
    for which in (generated, seeds):
        order = np.concatenate([rows for parts in drawn for part, rows in parts if part is which] or [np.array([])])
        whole = len(order) // len(which)
        for turn in order[: whole * len(which)].reshape(whole, len(which)):
            assert sorted(turn) == list(range(len(which)))


def test_the_share_of_seeds_rises_to_its_end() -> None:
    generated, seeds = source(50, 10), source(7, 200)
    batches = Batches(Mixture(generated, seeds, (0.25, 1.0)), Budget(100, 16), seed=4)
    counts = [sum(len(rows) for part, rows in batches.next() if part is seeds) for _ in range(100)]
    assert (counts[0], counts[-1], sum(counts)) == (4, 16, 1_000)
    for number, count in enumerate(counts):
        assert abs(count - 16 * (0.25 + 0.75 * (number + 0.5) / 100)) <= 1


def test_a_share_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="seeds_shares"):
        Batches(Mixture(source(2, 0), source(2, 0), (0.0, 1.5)), Budget(1, 4), 0)


def test_depth_is_standardised_by_what_batches_hold() -> None:
    near, far = source(3, 0, 1.0), source(9, 0, 10.0)
    trained = train_net("depth", Mixture(near, far, (0.0, 0.5)), 0, Budget(steps=1, batch=4), 0)
    assert near.labels.depth is not None and far.labels.depth is not None
    # A pile with as many pixels of each as the batches have: three parts of one, one of the other.
    pile = np.concatenate([np.tile(near.labels.depth.ravel(), 9), far.labels.depth.ravel()]).astype(np.float64)
    assert trained.depth_mean == pytest.approx(pile.mean(), rel=1e-5)
    assert trained.depth_std == pytest.approx(pile.std(), rel=1e-5)


def test_a_mixture_without_seeds_trains_as_the_data_set_alone() -> None:
    data, budget = source(6, 90), Budget(steps=3, batch=4)
    alone = train_net("class", data, 3, budget, 1)
    mixed = train_net("class", Mixture(data, source(2, 5), (0.0, 0.0)), 3, budget, 1)
    half = train_net("class", Mixture(data, source(2, 5), (0.5, 0.5)), 3, budget, 1)
    weights = [trained.net.state_dict()["head.weight"] for trained in (alone, mixed, half)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_learns_from_every_kind(kind: str) -> None:
    trained = train_net(kind, source(8, 90), 3, Budget(steps=4, batch=4), 0)  # type: ignore[arg-type]
    assert np.isfinite(trained.loss) and not trained.net.training


def test_a_heatmap_is_read_at_its_centre() -> None:
    centers = torch.tensor([[[20.5, 31.5], [3.5, 60.5]], [[40.7, 9.4], [33.2, 33.9]]])
    grid = places()
    square = (grid - centers[..., None, None]).square().sum(dim=2)
    trained = TrainedNet(TaskNet("keypoints", 2), 0.0, 1.0, 0.0, 0.0)
    found = decode(trained, -square / (2 * 1.5**2)).keypoints
    assert found is not None and found.shape == (2, 2, 3)
    # Around the centre of a pixel the window is symmetric, and its centre of mass exact.
    np.testing.assert_allclose(found[0, :, :2], centers[0], atol=1e-4)
    np.testing.assert_allclose(found[1, :, :2], centers[1], atol=0.2)
    assert (found[..., 2] == 2).all()


def test_depth_is_learnt_relative_to_itself() -> None:
    """An error of a tenth of the depth costs the same near and far, and unknown pixels cost nothing."""
    depth = torch.tensor([[[1.0, 8.0], [2.0, float("nan")]]])
    said = (1.1 * depth.nan_to_num(5.0) - 3.0) / 2.0
    loss = depth_loss(said.unsqueeze(1), depth, 3.0, 2.0)
    assert float(loss) == pytest.approx(0.1 * 3.0 / 2.0)
