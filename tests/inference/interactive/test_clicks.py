"""A click is obeyed at its voxel, moves the outline around it along the image, and holds it elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from diffcl.inference.interactive import clicks
from diffcl.inference.interactive.clicks import corrected

SHAPE = (40, 40, 30)
SPACING = (1.0, 1.0, 1.5)


def ball(centre: tuple[float, ...], radius: float) -> NDArray[np.bool_]:
    axes = [np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    inside: NDArray[np.bool_] = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (
        z - centre[2]
    ) ** 2 <= radius**2
    return inside


TRUTH = (ball((20, 20, 21), 9) | ball((30, 20, 21), 5)).astype(np.uint8)
PROPOSAL = ball((20, 20, 21), 9).astype(np.uint8)
IMAGE = np.where(TRUTH > 0, 100.0, 0.0).astype(np.float32) + np.random.default_rng(0).normal(0, 5, SHAPE)


def clicked(
    *places: tuple[tuple[int, int, int], int], start: NDArray[np.uint8] = PROPOSAL
) -> NDArray[np.uint8]:
    classes, mask = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool)
    for place, value in places:
        classes[place], mask[place] = value, True
    return corrected(start, IMAGE, SPACING, classes, mask)


def error(label: NDArray[np.uint8]) -> int:
    return int((label != TRUTH).sum())


def test_a_click_in_the_middle_of_what_is_missing_brings_much_of_it() -> None:
    found = clicked(((32, 20, 14), 1))
    assert found[32, 20, 14] == 1
    assert error(found) < 0.7 * error(PROPOSAL)
    assert not found[TRUTH == 0].any()


def test_a_click_on_what_is_too_much_takes_most_of_it_away() -> None:
    much = np.where(ball((10, 20, 21), 6), 1, TRUTH).astype(np.uint8)
    found = clicked(((7, 20, 14), 0), start=much)
    assert found[7, 20, 14] == 0
    assert error(found) < 0.6 * error(much)


def test_far_from_a_click_nothing_changes() -> None:
    found = clicked(((32, 20, 14), 1))
    assert (found[:15] == PROPOSAL[:15]).all()


def test_a_click_that_was_right_changes_nothing() -> None:
    assert (clicked(((20, 20, 14), 1), ((2, 2, 2), 0)) == PROPOSAL).all()


def test_a_click_of_another_class_holds_its_side() -> None:
    found = clicked(((32, 20, 14), 1), ((32, 23, 14), 0))
    assert found[32, 23, 14] == 0
    assert found[32, 22, 14] == 0
    assert found[32, 20, 14] == 1


def test_clicks_add_up_and_one_left_out_is_undone() -> None:
    both = clicked(((32, 20, 14), 1), ((20, 20, 26), 1))
    assert both[20, 20, 26] == both[32, 20, 14] == 1
    assert (clicked(((32, 20, 14), 1)) == clicked(((32, 20, 14), 1))).all()
    assert clicked(((32, 20, 14), 1))[20, 20, 26] == 0
    assert (clicked() == PROPOSAL).all()


def test_a_class_that_is_nowhere_begins_small_at_the_click() -> None:
    found = clicked(((20, 20, 14), 2))
    assert 8 < (found == 2).sum() < 800


def test_doubt_lets_the_outline_move_more_easily() -> None:
    classes, mask = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool)
    classes[32, 20, 14], mask[32, 20, 14] = 1, True
    sure = corrected(PROPOSAL, IMAGE, SPACING, classes, mask, np.zeros(SHAPE, np.float32))
    doubtful = corrected(PROPOSAL, IMAGE, SPACING, classes, mask, np.ones(SHAPE, np.float32))
    assert doubtful.sum() > sure.sum()


@pytest.mark.parametrize("place", [(0, 0, 0), (39, 39, 29)])
def test_a_click_in_a_corner_is_obeyed(place: tuple[int, int, int]) -> None:
    assert clicked((place, 1))[place] == 1


def test_work_is_bounded_however_fine_the_grid_and_however_many_the_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near, far = ((32, 20, 14), 1), ((20, 20, 26), 1)
    one, both = clicked(far), clicked(near, far)
    monkeypatch.setattr(
        clicks, "MOST_VOXELS", PROPOSAL.size
    )  # around one place there are fewer, around two more
    found = clicked(near, far)
    assert found[near[0]] == 1
    assert (found != one).sum() == 1
    assert (both != one).sum() > 1
    monkeypatch.setattr(clicks, "MOST_STROKES", 1)
    assert (clicked(near, far) == found).all()
    monkeypatch.setattr(clicks, "MOST_VOXELS", 0)
    assert (clicked(near, far) != PROPOSAL).sum() == 2


def test_of_many_places_the_largest_are_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clicks, "MOST_STROKES", 1)
    classes, mask = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool)
    mask[2:12:4, 2, 2] = True
    classes[mask] = 1
    alone = mask.copy()
    mask[31:34, 20, 14] = True
    classes[31:34, 20, 14] = 1
    found = corrected(PROPOSAL, IMAGE, SPACING, classes, mask)
    expected = clicked(*(((x, 20, 14), 1) for x in range(31, 34)))
    expected[alone] = 1
    assert (found == expected).all()
