"""Doubt and confidence are judged by their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffcl.evaluation.calibration import Reliability, failure_auc, rank_correlation


def test_ranks_alone_count() -> None:
    errors = [0.05, 0.1, 0.2, 0.6]
    assert rank_correlation([1, 2, 3, 100], errors) == 1
    assert rank_correlation([100, 3, 2, 1], errors) == -1
    assert rank_correlation([1, 3, 2, 4], errors) == 0.8  # 1 - 6 * 2 / (4 * 15)
    assert math.isnan(rank_correlation([1, 1, 1, 1], errors))


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    doubts, failed = [0.9, 0.2, 0.5, 0.1, 0.5], [True, True, False, False, False]
    assert failure_auc(doubts, failed) == pytest.approx((3 + 1) / 6, abs=1e-4)
    assert failure_auc([0.5, 0.5], [True, False]) == 0.5
    assert math.isnan(failure_auc(doubts, [False] * 5))


def test_confidence_that_keeps_its_promise_has_no_error() -> None:
    truth = np.array([1, 1, 1, 0]).reshape(4, 1, 1)
    probabilities = np.stack([np.full_like(truth, 0.25, float), np.full_like(truth, 0.75, float)])
    gathered = Reliability()
    gathered.add(probabilities, truth)
    assert gathered.expected_calibration_error == 0


def test_the_error_is_the_mean_gap_over_all_scans() -> None:
    gathered = Reliability()
    sure = np.array([0.0, 1.0]).reshape(2, 1, 1, 1).repeat(3, axis=1)
    gathered.add(sure, np.array([1, 1, 0]).reshape(3, 1, 1))  # one of three is wrong
    gathered.add(sure[:, :1], np.array([1]).reshape(1, 1, 1))
    assert gathered.expected_calibration_error == 0.25


def test_the_curve_has_a_point_for_every_range_of_confidence_that_occurred() -> None:
    gathered = Reliability()
    for confidence, truths in ((0.7, [1, 1, 0, 0]), (0.9, [1, 1, 1, 0])):
        other = np.full((len(truths), 1, 1), 1 - confidence)
        gathered.add(np.stack([other, 1 - other]), np.array(truths).reshape(-1, 1, 1))
    confidences, right = gathered.curve
    assert confidences == pytest.approx([0.7, 0.9])
    assert right == pytest.approx([0.5, 0.75])


def test_plain_background_does_not_count() -> None:
    gathered = Reliability()
    nothing = np.array([1.0, 0.0]).reshape(2, 1, 1, 1).repeat(1000, axis=1)
    gathered.add(nothing, np.zeros((1000, 1, 1), int))
    assert gathered.voxels.sum() == 0
    assert math.isnan(gathered.expected_calibration_error)
    missed = np.zeros((1000, 1, 1), int)
    missed[0] = 1
    gathered.add(nothing, missed)
    assert gathered.expected_calibration_error == 1
