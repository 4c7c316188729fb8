from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from diffcl.geometry import Geometry, voxels
from diffcl.inference.expected_error import expected_dice, expected_error, places_to_check

SIZE = (10, 9, 8)


def one_class(inside: float, outside: float, shift: int = 0) -> Tensor:
    """Probabilities of background and one class, which is likely in a box of 4x3x2 voxels."""
    probability = torch.full(SIZE, outside)
    probability[2 + shift : 6 + shift, 3:6, 2:4] = inside
    return torch.stack([1 - probability, probability])


def test_sure_probabilities_expect_what_they_show() -> None:
    assert expected_dice(one_class(1.0, 0.0)) == 1.0


def test_the_expectation_is_twice_the_certain_over_all_there_is() -> None:
    # 24 voxels found; of their probability 0.8 * 24 lies inside, and as much may be true in all
    assert expected_dice(one_class(0.8, 0.0)) == pytest.approx(2 * 0.8 * 24 / (24 + 0.8 * 24))


def test_a_faint_haze_over_a_large_scan_does_not_count() -> None:
    assert expected_dice(one_class(1.0, 0.01)) == 1.0
    assert expected_dice(one_class(1.0, 0.2)) < 0.5


def test_the_expectation_is_the_dice_that_follows_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(30, 30, 30, generator=generator)
    found = probability > 0.5
    truths = [torch.rand(30, 30, 30, generator=generator) < probability for _ in range(20)]
    dice = [2 * float((found & truth).sum()) / float(found.sum() + truth.sum()) for truth in truths]
    assert expected_dice(torch.stack([1 - probability, probability])) == pytest.approx(
        np.mean(dice), abs=0.01
    )


def test_doubt_is_none_where_the_ensemble_is_sure() -> None:
    assert expected_error(one_class(1.0, 0.0)) == 0.0


def test_doubt_grows_with_the_uncertainty_and_with_the_disagreement() -> None:
    sure = one_class(0.95, 0.0)
    doubts = [
        expected_error(sure),
        expected_error(one_class(0.8, 0.0)),
        expected_error((sure + one_class(0.95, 0.0, shift=1)) / 2),
        expected_error((sure + one_class(0.95, 0.0, shift=3)) / 2),
    ]
    assert doubts == sorted(doubts)
    assert len(set(doubts)) == 4


def test_nothing_found_is_all_doubt() -> None:
    assert expected_error(one_class(0.0, 0.0)) == 1.0


class TestToCheck:
    FINE = Geometry((40, 40, 20), (0.5, 0.5, 2.0), (3.0, -7.0, 11.0), (0, 1, 0, -1, 0, 0, 0, 0, 1))

    def check(self, uncertainty: np.ndarray) -> np.ndarray:
        return voxels(places_to_check(self.FINE.place(uncertainty.astype(np.float32)), (1.0, 1.0, 1.0)))

    def test_the_doubt_along_a_border_is_left_out(self) -> None:
        uncertainty = np.zeros(self.FINE.size)
        uncertainty[10:30, 10:13, 5:15] = 1.0  # 1.5 mm thick
        assert not self.check(uncertainty).any()

    def test_a_doubtful_place_is_marked_where_it_is(self) -> None:
        uncertainty = np.zeros(self.FINE.size)
        uncertainty[10:20, 10:20, 5:15] = 0.6
        marked = self.check(uncertainty)
        assert not marked[uncertainty == 0].any()
        assert marked.sum() > 0.8 * (uncertainty > 0).sum()

    def test_a_little_doubt_is_left_out(self) -> None:
        assert not self.check(np.full(self.FINE.size, 0.4)).any()

    def test_the_mark_lies_on_the_grid_of_the_map(self) -> None:
        marked = places_to_check(self.FINE.place(np.zeros(self.FINE.size, np.float32)), (1.0, 1.0, 1.0))
        assert Geometry.of(marked) == self.FINE
