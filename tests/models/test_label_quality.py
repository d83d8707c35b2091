"""Every figure against a plain loop or a number worked out by hand."""

import math

import numpy as np
import pytest

from models.label_quality import (
    accuracy,
    calibration_error,
    class_iou,
    confusion,
    depth_errors,
    kept_errors,
    mask_confusion,
    mean_known,
    pck,
    point_errors,
    reliability,
    risk_coverage,
)

RNG = np.random.default_rng(3)


def test_iou_counts_by_hand_and_ignores_255() -> None:
    truth = np.array([[0, 0, 1, 255]], dtype=np.uint8)
    predicted = np.array([[0, 1, 1, 2]], dtype=np.uint8)
    assert class_iou(predicted, truth, 4) == [0.5, 0.5, None, None]
    assert mean_known([0.5, None, 1.0]) == 0.75
    assert math.isnan(mean_known([None]))


def test_iou_is_that_of_the_sets_of_pixels() -> None:
    truth, predicted = (RNG.integers(0, 5, (3, 8, 8), np.uint8) for _ in range(2))
    truth[0, :2] = 255
    for value, found in enumerate(class_iou(predicted, truth, 5)):
        ours = set(zip(*np.nonzero((predicted == value) & (truth != 255)), strict=True))
        theirs = set(zip(*np.nonzero(truth == value), strict=True))
        assert found == pytest.approx(len(ours & theirs) / len(ours | theirs))


def test_the_confusion_counts_pairs() -> None:
    truth, predicted = (RNG.integers(0, 3, 50) for _ in range(2))
    table = confusion(predicted, truth, 3)
    for row in range(3):
        for column in range(3):
            assert table[row, column] == sum(t == row and p == column for t, p in zip(truth, predicted, strict=True))


def test_a_point_counts_within_a_tenth_of_the_box_around_the_labeled_points() -> None:
    # The box of the labeled points is 10 wide and 40 high, so points may be 4 pixels off.
    truth = np.array([[[10, 10, 2], [20, 50, 1], [500, 500, 0]]], np.float32)
    near = truth + np.float32([0, 3.9, 0])
    far = truth + np.float32([0, 4.1, 0])
    assert pck(near, truth, 600) == [1.0, 1.0, None]
    assert pck(far, truth, 600) == [0.0, 0.0, None]
    assert pck(far, truth, 600, alpha=0.2) == [1.0, 1.0, None]
    assert pck(np.concatenate([near, far]), np.concatenate([truth, truth]), 600) == [0.5, 0.5, None]
    assert point_errors(far, truth, 600)[0, :2] == pytest.approx([0.1025, 0.1025])


def test_the_box_of_points_at_one_place_counts_as_a_pixel() -> None:
    truth = np.array([[[10, 10, 2], [10, 10, 2], [0, 0, 0]]], np.float32)
    errors = point_errors(truth + np.float32([0.5, 0, 0]), truth, 64)
    assert errors[0, :2].tolist() == [0.5, 0.5]
    assert np.isnan(errors[0, 2])
    assert pck(truth[:, 2:], truth[:, 2:], 64) == [None]


def test_a_single_point_counts_within_a_tenth_of_the_image() -> None:
    truth = np.array([[[10, 10, 2], [0, 0, 0]]], np.float32)
    assert point_errors(truth + np.float32([3.2, 0, 0]), truth, 64)[0, 0] == pytest.approx(0.05)
    assert pck(truth + np.float32([6.3, 0, 0]), truth, 64) == [1.0, None]
    assert pck(truth + np.float32([6.5, 0, 0]), truth, 64) == [0.0, None]


def test_depth_errors_are_over_known_pixels() -> None:
    truth = np.array([[1.0, 2.0, np.nan, 4.0]], np.float32)
    predicted = np.array([[1.5, 2.0, 99.0, 3.0]], np.float32)
    rmse, relative = depth_errors(predicted, truth)
    assert rmse == pytest.approx(math.sqrt((0.25 + 0 + 1) / 3))
    assert relative == pytest.approx((0.5 + 0 + 0.25) / 3)
    assert all(map(math.isnan, depth_errors(predicted, np.full_like(truth, np.nan))))
    with_zero = depth_errors(np.array([1.0, 3.0]), np.array([0.0, 2.0]))
    assert with_zero == (1.0, 0.5)


def test_accuracy_leaves_out_what_is_not_known() -> None:
    assert accuracy(np.array([[1, 0], [2, 1]]), np.array([[1, -1], [0, 1]])) == pytest.approx(2 / 3)
    assert accuracy(np.array([1]), np.array([-1])) is None


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    confidence, right = RNG.random(500), RNG.random(500) < 0.7
    total = 0.0
    for low in np.arange(0, 1, 0.1):
        inside = (confidence >= low - 1e-12) & (confidence < low + 0.1 - 1e-12)
        if inside.any():
            total += inside.sum() * abs(confidence[inside].mean() - right[inside].mean())
    rows = reliability(confidence, right)
    assert calibration_error(rows) == pytest.approx(total / 500)
    assert sum(count for *_, count in rows) == 500
    assert reliability(np.array([1.0, 1.0]), np.array([True, False])) == [(1.0, 0.5, 2)]


def test_one_who_is_as_sure_as_right_is_calibrated() -> None:
    confidence = np.repeat([0.25, 0.75], 400)
    right = np.concatenate([np.arange(400) < 100, np.arange(400) < 300])
    assert calibration_error(reliability(confidence, right)) == pytest.approx(0)


def test_risk_coverage_lies_between_oracle_and_no_discarding() -> None:
    error = np.array([1.0, 0.0, 2.0, 3.0])
    # Kept in the order of uncertainty: errors 0, 2, 1, 3; means 0, 1, 1, 1.5. Of the oracle: 0, 0.5, 1, 1.5.
    found = risk_coverage(np.array([0.3, 0.1, 0.2, 0.9]), error)
    assert found == {"area": pytest.approx(3.5 / 4), "oracle": pytest.approx(3 / 4), "none": 1.5}
    perfect = risk_coverage(error, error)
    assert perfect["area"] == perfect["oracle"]
    shuffled = [risk_coverage(RNG.random(4), error)["area"] for _ in range(2000)]
    assert np.mean(shuffled) == pytest.approx(1.5, abs=0.05)


def test_masks_are_counted_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, predicted = RNG.integers(0, 4, (3, 9, 7), dtype=np.uint8), RNG.integers(0, 3, (3, 9, 7), dtype=np.uint8)
    truth[truth == 3] = 255
    known = truth != 255
    for piece in (2**18, 10):
        monkeypatch.setattr("models.label_quality._PIECE", piece)
        table = mask_confusion(predicted, truth, 3)
        assert np.array_equal(table, confusion(predicted[known], truth[known], 3))
        assert table.sum() == known.sum()


def test_what_is_kept_is_the_most_certain() -> None:
    error = np.array([3.0, 1.0, 2.0])
    assert kept_errors(np.array([0.9, 0.1, 0.5]), error, [0, 1, 2]) == [2.0, 1.5, 1.0]
