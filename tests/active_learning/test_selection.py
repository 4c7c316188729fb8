from __future__ import annotations

import time

import numpy as np
import pytest

from diffcl.active_learning import choose, distances, gains


@pytest.fixture
def groups() -> np.ndarray:
    """Distances between 30 typical scans, 10 of another kind, and one that is like none (number 40)."""
    rng = np.random.default_rng(0)
    centres = np.repeat([[0.0, 0.0], [6.0, 0.0], [30.0, 30.0]], [30, 10, 1], axis=0)
    points = centres + rng.normal(0, 1, centres.shape)
    return np.linalg.norm(points[:, None] - points, axis=2).astype(np.float32)


def test_distances_do_not_depend_on_the_units_of_the_features() -> None:
    features = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(
        distances(features), distances(features * [1, 1000, 1e-4] + [5, -8, 0]), rtol=1e-4
    )


def test_distances_are_those_of_the_scaled_points() -> None:
    features = np.random.default_rng(1).normal(size=(6, 4))
    scaled = features / features.std(axis=0)
    expected = np.linalg.norm(scaled[:, None] - scaled, axis=2)
    np.testing.assert_allclose(distances(features), expected, atol=1e-5)


def test_scans_that_are_all_alike_have_no_distance() -> None:
    assert not distances(np.ones((4, 3))).any()
    assert choose(distances(np.ones((4, 3))), [], 9) == [0, 1, 2, 3]


def test_the_first_choice_is_typical(groups: np.ndarray) -> None:
    assert choose(groups, [], 1)[0] < 30


def test_every_kind_has_its_turn_before_the_odd_one(groups: np.ndarray) -> None:
    first, second = choose(groups, [], 2)
    assert first < 30 <= second < 40


def test_what_is_outlined_is_not_chosen_again(groups: np.ndarray) -> None:
    assert gains(groups, [3])[3] == 0
    assert sorted(choose(groups, range(39), 5)) == [39, 40]


def test_what_an_outlined_scan_covers_is_worth_little(groups: np.ndarray) -> None:
    before, after = gains(groups, [0]), gains(groups, [0, 30])
    assert (after <= before).all()
    assert after[31:40].max() < 0.2 * before[31:40].min()


def test_doubt_draws_the_choice_to_the_doubted_kind(groups: np.ndarray) -> None:
    weights = np.where(np.arange(41) // 10 == 1, 1.0, 0.01)  # ten of the typical ones are doubted
    assert choose(groups, [31], 1, weights)[0] < 30
    weights = np.where((np.arange(41) >= 30) & (np.arange(41) < 40), 1.0, 0.01)
    assert 30 <= choose(groups, [0], 1, weights)[0] < 40


def test_odd_scans_are_not_preferred_where_all_are_far_from_each_other() -> None:
    features = np.random.default_rng(0).normal(size=(60, 200))
    features[:6] *= 2  # far from all others, and from each other
    assert set(choose(distances(features), [10, 20], 8)).isdisjoint(range(6))


def test_the_greedy_choice_is_the_best_single_one_for_the_others(groups: np.ndarray) -> None:
    reach = groups[:, [2, 35]].min(axis=1)
    ways = [reach - np.minimum(reach, groups[:, other]) for other in range(41)]
    by_hand = [np.delete(way, other).sum() + way[other] / 41 for other, way in enumerate(ways)]
    np.testing.assert_allclose(gains(groups, [2, 35]), by_hand, rtol=1e-3, atol=1e-3)


def test_a_thousand_scans_take_a_moment() -> None:
    features = np.random.default_rng(0).normal(size=(1000, 128))
    begin = time.thread_time()
    gains(distances(features), range(10))
    assert time.thread_time() - begin < 1
